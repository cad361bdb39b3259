# SPDX-License-Identifier: Apache-2.0
"""Configuration of the documentation's build."""

extensions = [
    'cliff.sphinxext',
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'reno.sphinxext',
]
project = 'svirt-nova'
copyright = 'svirt-nova developers'
master_doc = 'index'
html_theme = 'openstackdocs'
html_static_path = ['_static']
html_css_files = ['pages.css']
openstackdocs_auto_name = False
openstackdocs_auto_version = False
openstackdocs_pdf_link = False
pygments_style = 'native'

# What all commands have, the page describes once.
autoprogram_cliff_app_dist_name = 'svirt-nova'
autoprogram_cliff_ignored = [
    '--help',
    '--format',
    '--column',
    '--sort-column',
    '--sort-ascending',
    '--sort-descending',
    '--quote',
    '--noindent',
    '--prefix',
    '--variable',
    '--max-width',
    '--fit-width',
    '--print-empty',
]
man_pages = [
    (f'cli/{name}', name, description, [], 1)
    for name, description in (
        ('svirt-nova', 'levels of instances, and the store that holds them'),
        ('svirt-nova-alarm', 'tells at once of denials between guests'),
        ('svirt-nova-allocator', 'gives out levels over the message bus'),
        ('svirt-nova-status', 'checks before nova-compute is upgraded'),
    )
]
