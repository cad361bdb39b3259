; SPDX-License-Identifier: Apache-2.0
;
; The guest of the lab: one sector, which does what a host needs of a guest.
;
; An emulated host has little time: an operating system would take too much of
; it, and so do 18 ticks a second of the BIOS's timer. This guest stops that
; timer. It sleeps until the real-time clock wakes it, twice a second or, with
; WRITES, 8 times a second, and then
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
; The real-time clock, which wakes 32768 >> (RATE - 1) times a second.
CLOCK_INDEX     equ 0x70
CLOCK_DATA      equ 0x71
CLOCK_VECTOR    equ 0x70 * 4
STATUS_A        equ 0x0a
STATUS_B        equ 0x0b
STATUS_C        equ 0x0c
OSCILLATES      equ 0x20
PERIODIC        equ 0x40
%ifdef WRITES
RATE            equ 13
%else
RATE            equ 15
%endif
; Interrupt controllers, and the timer.
FIRST_COMMAND   equ 0x20
FIRST_MASK      equ 0x21
SECOND_COMMAND  equ 0xa0
SECOND_MASK     equ 0xa1
END_INTERRUPT   equ 0x20
TIMER_MODE      equ 0x43
TIMER_COUNT     equ 0x40
ONCE            equ 0x30
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

        cli
        mov word [CLOCK_VECTOR], tick
        mov word [CLOCK_VECTOR + 2], 0
        mov al, STATUS_A
        out CLOCK_INDEX, al
        mov al, OSCILLATES | RATE
        out CLOCK_DATA, al
        mov al, STATUS_B
        out CLOCK_INDEX, al
        in al, CLOCK_DATA
        or al, PERIODIC
        mov ah, al
        mov al, STATUS_B
        out CLOCK_INDEX, al
        mov al, ah
        out CLOCK_DATA, al
        mov al, ONCE
        out TIMER_MODE, al
        mov al, 0xff
        out TIMER_COUNT, al
        out TIMER_COUNT, al
        ; Mask the timer's interrupt; unmask that of the clock, which comes
        ; through the second controller.
        in al, FIRST_MASK
        or al, 1
        and al, ~4 & 0xff
        out FIRST_MASK, al
        in al, SECOND_MASK
        and al, ~1 & 0xff
        out SECOND_MASK, al
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

tick:
        push ax
        ; The clock does not tick again before this is read.
        mov al, STATUS_C
        out CLOCK_INDEX, al
        in al, CLOCK_DATA
        mov al, END_INTERRUPT
        out SECOND_COMMAND, al
        out FIRST_COMMAND, al
        pop ax
        iret

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
