# SPDX-License-Identifier: Apache-2.0
"""The rooms of the package: what may know of what."""

import ast
import collections
import pathlib

import testtools

import svirt_nova

PACKAGE = pathlib.Path(svirt_nova.__file__).parent

# What each room may import of the others, beside what COMMON names.
ROOMS = {
    'mcs': set(),
    'host': {'mcs'},
    'conf': set(),
    'metrics': {'conf'},
    'allocator': {'mcs', 'conf', 'metrics'},
    'denials': {'mcs', 'allocator'},
    'alarm': {'mcs', 'conf', 'metrics', 'host', 'allocator', 'denials'},
    'lifecycle': {'mcs', 'host', 'conf', 'allocator'},
    'virt': {'mcs', 'host', 'conf', 'metrics', 'allocator', 'lifecycle'},
    'cmd': {
        'alarm',
        'mcs',
        'host',
        'conf',
        'metrics',
        'allocator',
        'denials',
        'lifecycle',
        'virt',
    },
    'tempest': {'mcs', 'host', 'allocator', 'lifecycle'},
}

# Modules of no room, which all may import.
COMMON = {'exception', 'printing', 'logs', ''}

# Modules that may import the library for logs: of others, records could have
# texts from outside as they are.
LOGGING = {
    'svirt_nova.logs',
    'svirt_nova.cmd.service',
    'svirt_nova.cmd.alarm',
}

# Libraries that one room alone may import.
ALONE = {
    'nova': 'virt',
    'cinderclient': 'virt',
    'glanceclient': 'virt',
    'tempest': 'tempest',
}

# Modules of one name that are about one thing, in different rooms.
ONE_MEANING = {'compute_api', 'service', '__init__'}

LONGEST = 400

ROOT = pathlib.Path(__file__).parents[2]
ARCHITECTURE = ROOT / 'doc/source/contributor/architecture.rst'


def modules():
    """Each module's dotted name and path."""
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
        yield '.'.join(parts).removesuffix('.__init__'), path


KNOWN = {name for name, _ in modules()}


def imports(path):
    """The dotted names of what a module imports, whenever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f'{node.module}.{alias.name}'
                yield name if name in KNOWN else str(node.module)


def room_of(name):
    parts = name.split('.')
    return parts[1] if len(parts) > 1 else ''


class RoomsTest(testtools.TestCase):
    def test_each_room_is_known(self):
        found = {
            p.name for p in PACKAGE.iterdir() if (p / '__init__.py').exists()
        }
        self.assertEqual(set(ROOMS), found)

    def test_a_room_imports_only_what_it_may_know(self):
        wrong = []
        for name, path in modules():
            room = room_of(name)
            if room not in ROOMS:
                continue
            allowed = {room} | COMMON | ROOMS[room]
            wrong += [
                f'{name} imports {found}'
                for found in imports(path)
                if found.split('.')[0] == 'svirt_nova'
                and room_of(found) not in allowed
            ]
        self.assertEqual([], wrong)

    def test_a_library_is_imported_by_its_room_alone(self):
        wrong = [
            f'{name} imports {found}'
            for name, path in modules()
            for found in imports(path)
            if ALONE.get(found.split('.')[0], room_of(name)) != room_of(name)
        ]
        self.assertEqual([], wrong)

    def test_records_are_made_by_loggers_that_bound_them(self):
        using = {
            name
            for name, path in modules()
            if any(found.startswith('oslo_log') for found in imports(path))
        }
        self.assertEqual(LOGGING, using)
        wrong = [
            name
            for name, path in modules()
            for line in path.read_text().splitlines()
            if line.startswith('LOG =')
            and line != 'LOG = logs.get_logger(__name__)'
        ]
        self.assertEqual([], wrong)

    def test_no_module_imports_itself_in_a_circle(self):
        graph = {
            name: {found for found in imports(path) if found in KNOWN}
            for name, path in modules()
        }
        done, circles = set(), []

        def visit(name, trail):
            if name in trail:
                circles.append(' -> '.join([*trail, name]))
            elif name not in done:
                for found in sorted(graph[name]):
                    visit(found, [*trail, name])
                done.add(name)

        for name in graph:
            visit(name, [])
        self.assertEqual([], circles)

    def test_a_name_has_one_meaning(self):
        found = collections.defaultdict(list)
        for name, path in modules():
            if path.stem not in ONE_MEANING:
                found[path.stem].append(name)
        self.assertEqual(
            [], [names for names in found.values() if len(names) > 1]
        )

    def test_no_module_of_ours_is_imported_under_another_name(self):
        wrong = []
        for name, path in modules():
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Import | ast.ImportFrom):
                    continue
                module = getattr(node, 'module', None) or ''
                wrong += [
                    f'{name}: {alias.name} as {alias.asname}'
                    for alias in node.names
                    if alias.asname
                    and (module or alias.name).startswith('svirt_nova')
                ]
        self.assertEqual([], wrong)

    def test_the_guide_names_each_module(self):
        guide = ARCHITECTURE.read_text()
        missing = [
            name
            for name, path in modules()
            if path.stem != '__init__'
            and 'versions' not in path.parts
            and f'``{path.stem}``' not in guide
        ]
        self.assertEqual([], missing)

    def test_no_module_is_longer_than_a_reader_wants(self):
        lengths = {
            str(path.relative_to(ROOT)): len(path.read_text().splitlines())
            for folder in ('svirt_nova', 'tests', 'tools')
            for path in (ROOT / folder).rglob('*.py')
        }
        self.assertEqual(
            {}, {name: n for name, n in lengths.items() if n > LONGEST}
        )
