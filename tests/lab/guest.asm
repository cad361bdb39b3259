; SPDX-License-Identifier: Apache-2.0
;
; The guest of the lab: one sector, which does what a host needs of a guest.
;
; An operating system would take the time of an emulated host. This one sleeps
; until the BIOS's timer wakes it, 18 times a second, and then
;
; - ends when it is asked to (ACPI power button: Nova's stop, soft reboot);
; - lets go of the devices that it is asked for (ACPI hot unplug on the i440fx
;   machine: Nova's detach of a volume or an interface);
; - with WRITES, writes a sector of its disk: the next number, to the next of
;   SLOTS sectors in turn. A write that got lost, or a memory that went back,
;   leaves a gap in the numbers (guest.py).
;
; At first it prints a few lines on its serial port; with WRITES it also fills
; memory, so that a live migration has something to send.
;
; Assembled with: nasm -f bin [-D WRITES] -o FILE guest.asm

FIRST_SECTOR    equ 64
SLOTS           equ 512

; QEMU's PIIX4 power management, where SeaBIOS puts it: PORT_ACPI_PM_BASE.
PM_STATUS       equ 0x600
PM_ENABLE       equ 0x602
PM_CONTROL      equ 0x604
POWER_BUTTON    equ 1 << 8
SLEEP_NOW       equ 1 << 13     ; of type 0, soft off
; QEMU's acpi-pci-hotplug (docs/specs/acpi_pci_hotplug).
HOTPLUG_DOWN    equ 0xae04
HOTPLUG_EJECT   equ 0xae08
HOTPLUG_BUS     equ 0xae10
SERIAL          equ 0x3f8
SERIAL_STATUS   equ 0x3fd
SERIAL_IS_EMPTY equ 1 << 5

BUFFER          equ 0x1000
FILLED_FROM     equ 1 << 20
FILLED_DWORDS   equ 32 << 18
FLAT            equ 8

        bits 16
        org 0x7c00

        jmp 0:start
start:
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        cld
        mov [drive], dl

        mov cx, 24
lines:
        mov si, text
character:
        mov dx, SERIAL_STATUS
wait_until_empty:
        in al, dx
        test al, SERIAL_IS_EMPTY
        jz wait_until_empty
        lodsb
        mov dx, SERIAL
        out dx, al
        cmp al, 10
        jne character
        loop lines

%ifdef WRITES
        ; A segment without a limit, to reach what is above the first MiB.
        lgdt [table_register]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov bx, FLAT
        mov es, bx
        and al, 0xfe
        mov cr0, eax
        xor bx, bx
        mov edi, FILLED_FROM
        mov ecx, FILLED_DWORDS
        mov eax, edi
        a32 rep stosd
        mov es, bx
%endif
        mov dx, PM_ENABLE
        mov ax, POWER_BUTTON
        out dx, ax
        sti

sleep:
        hlt
        mov dx, PM_STATUS
        in ax, dx
        test ax, POWER_BUTTON
        jz unplug
        mov dx, PM_CONTROL
        mov ax, SLEEP_NOW
        out dx, ax
unplug:
        mov dx, HOTPLUG_BUS
        xor eax, eax
        out dx, eax
        mov dx, HOTPLUG_DOWN
        in eax, dx
        test eax, eax
        jz write
        mov dx, HOTPLUG_EJECT
        out dx, eax
write:
%ifdef WRITES
        mov eax, [number]
        mov di, BUFFER
        mov cx, 128
        rep stosd
        and eax, SLOTS - 1
        add eax, FIRST_SECTOR
        mov [sector], eax
        mov si, packet
        mov dl, [drive]
        mov ax, 0x4300
        int 0x13
        jc sleep
        inc dword [number]
%endif
        jmp sleep

text:   db 'the guest of the lab is up', 13, 10
drive:  db 0
        align 4
number: dd 0
; What INT 13h writes: one sector, from BUFFER.
packet: dw 16, 1, BUFFER, 0
sector: dq 0

%ifdef WRITES
table:  dq 0, 0x008f92000000ffff
table_register:
        dw table_register - table - 1
        dd table
%endif

; Nova takes no boot sector for an image that has no partition.
        times 446 - ($ - $$) db 0
        dd 0x80, 0x83, 1, 2047
        times 510 - ($ - $$) db 0
        dw 0xaa55
