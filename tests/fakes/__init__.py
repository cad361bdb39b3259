# SPDX-License-Identifier: Apache-2.0
"""A cloud that runs the real driver: what is below and beside it is fake.

===================  =====================================================
:mod:`.storage`      what outlives a process: files in memory or on a disk
:mod:`.steps`        what a process does to the world, one step at a time
:mod:`.processes`    who does it: processes that take turns, call each
                     other, and die
:mod:`.files`        the labels that the kernel keeps of files
:mod:`.libvirt`      libvirt on one host, in the role of nova's ``Host``
:mod:`.domains`      its domains, in the roles of ``Guest`` and
                     ``virDomain``
:mod:`.libvirt_driver`  ``LibvirtDriver``, reduced to the steps that the
                     promise rests on
:mod:`.allocators`   the calls of an allocator, and what befalls them
:mod:`.database`     what Nova's database has
:mod:`.compute`      nova-compute on one host
:mod:`.startup`      what nova-compute does when it starts, and from time
                     to time
:mod:`.api`          what users ask Nova for
:mod:`.cloud`        all of it together, and what operators do
:mod:`.views`        what is seen of it, for the audit
:mod:`.kernel`       a kernel that enforces a small policy
===================  =====================================================

Nothing here imports ``nova.tests``, which changes the whole process.
"""
