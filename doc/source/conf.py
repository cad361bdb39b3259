# SPDX-License-Identifier: Apache-2.0
"""Configuration of the documentation's build."""

extensions = [
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
