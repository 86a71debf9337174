use super::*;
use crate::trace::{Compression, Reader};

type Told = (Header, Vec<String>, Imported, Vec<u64>);

fn run(log: &str, dialect: Dialect) -> Told {
    run_for(log, dialect, None)
}

fn run_for(log: &str, dialect: Dialect, device: Option<&str>) -> Told {
    let header = survey(log.as_bytes(), dialect, device).unwrap().header;
    let mut writer = Writer::new(Vec::new(), &header, Compression::None).unwrap();
    let mut unread = Vec::new();
    let sums = import(log.as_bytes(), dialect, device, &mut writer, |number, _| unread.push(number)).unwrap();
    writer.finish().unwrap();
    let bytes = writer.into_inner();
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let mut events = Vec::new();
    while let Some(event) = reader.next().unwrap() {
        events.push(format!("{} {:?}", event.time, event.what));
    }
    (header, events, sums, unread)
}

#[test]
fn a_log_of_qemu_becomes_registers_configuration_and_interrupts() {
    let log = "\
        71@1700000000.000001:vfio_pci_read_config  (0000:01:00.0, @0x0, len=0x4) 0x10551af4\n\
        71@1700000000.000002:vfio_region_write  (0000:01:00.0:region2+0x14, 0x1, 1)\n\
        71@1700000000.000004:vfio_region_read  (0000:01:00.0:region2+0x2000, 4) = 0x59414c52\n\
        71@1700000000.000005:vfio_msi_interrupt  (0000:01:00.0) vector 3 0xfee00000/0x31\n\
        71@1700000000.000006:vfio_region_write  (0000:02:00.0:region0+0x0, 0x1, 4)\n\
        71@1700000000.000007:vfio_listener_region_add_ram region_add [ram] 0x0 - 0x9ffff [0x7f0]\n\
        qemu-system-x86_64: warning: something else\n\
        71@1700000000.000008:vfio_region_write  (0000:01:00.0:region2+0x14, 0x1, 3)\n";
    let (header, events, sums, unread) = run(log, Dialect::QemuVfio);
    assert_eq!((header.ids[0], header.ids[1], header.msix), (0x1af4, 0x1055, Some((0, 4))));
    assert_eq!(header.bars[2].unwrap().size, 0x4000);
    assert_eq!(
        events,
        [
            "0 ConfigRead { offset: 0, data: [244, 26, 85, 16] }",
            "1000 Write { bar: 2, offset: 20, data: [1] }",
            "3000 Read { bar: 2, offset: 8192, data: [82, 76, 65, 89] }",
            "4000 Interrupt { vector: 3 }",
        ]
    );
    assert_eq!((sums, unread), (Imported { lines: 8, events: 4, unread: 2, others: 1 }, vec![7, 8]));
}

#[test]
fn an_mmiotrace_becomes_registers_of_the_bars_that_it_names() {
    let log = "\
        VERSION 20070824\n\
        PCIDEV 0000 80860000 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 agpgart-intel\n\
        PCIDEV 00fa 80862922 1b 1 0 0 0 0 fe000000 0 20 0 0 0 0 1000 0 ahci\n\
        PCIDEV 0100 10de0391 10 fd000000 d000000c 0 fc000004 0 0 0 1000000 10000000 0 1000000 0 0 0 nouveau\n\
        MAP 12.000001 1 0xfd000000 0xf8c80000 0x1000000 0x0 0\n\
        W 4 12.000002 1 0xfd000140 0x1 0x0 0\n\
        R 4 12.000005 1 0xfd000000 0x46200a2 0x0 0\n\
        R 2 12.000006 1 0xfe000000 0x1 0x0 0\n\
        UNMAP 12.000007 1 0x0 0\n\
        MARK 12.000008 the end\n\
        MARK 0.000000 Lost 17 events.\n\
        UNKNOWN 12.000009 1 0xfd000010 0f,b6,00 0x0 0\n\
        garbage\n";
    let (header, events, sums, unread) = run(log, Dialect::Mmiotrace);
    assert_eq!((header.ids[0], header.ids[1]), (0x10de, 0x0391));
    assert_eq!(
        events,
        ["0 Write { bar: 0, offset: 320, data: [1, 0, 0, 0] }", "3000 Read { bar: 0, offset: 0, data: [162, 0, 98, 4] }"]
    );
    assert_eq!((sums.events, sums.unread, unread), (2, 4, vec![8, 11, 12, 13]), "what the kernel lost is not passed over");
}

#[test]
fn lines_without_times_keep_their_order_and_no_line_is_too_long() {
    let mut log = "vfio_region_write (d:region0+0x8, 0x7, 2)\n".repeat(2);
    log.push_str(&"x".repeat(3 * LONGEST_LINE as usize));
    let (_, events, sums, _) = run(&log, Dialect::QemuVfio);
    assert_eq!(events.len(), 2);
    assert!(events[0].starts_with("1 ") && events[1].starts_with("2 "));
    assert_eq!(sums.unread, 3);
}

/// The same seven things as each of QEMU's log backends writes them.
const BACKENDS: [(&str, &str); 5] = [
    (
        "log",
        "71@1700000000.000001:vfio_pci_read_config  (0000:01:00.0, @0x0, len=0x4) 0x11e81234\n\
         71@1700000000.000002:vfio_msix_vector_do_use  (0000:01:00.0) vector 2 used\n\
         71@1700000000.000003:vfio_region_write  (0000:01:00.0:region0+0x8, 0x5, 4)\n\
         71@1700000000.000004:vfio_region_read  (0000:01:00.0:region0+0x8, 8) = 0x78\n\
         71@1700000000.000005:vfio_msi_interrupt  (0000:01:00.0) vector 1 0xfee00000/0x31\n\
         71@1700000000.000006:vfio_intx_interrupt  (0000:01:00.0) Pin A\n\
         71@1700000000.000007:vfio_pci_reset  (0000:01:00.0)\n",
    ),
    (
        "log with -msg timestamp=on",
        "2026-01-31T10:11:12.000001Z vfio_pci_read_config  (0000:01:00.0, @0x0, len=0x4) 0x11e81234\n\
         2026-01-31T10:11:12.000002Z vfio_msix_vector_do_use  (0000:01:00.0) vector 2 used\n\
         2026-01-31T10:11:12.000003Z vfio_region_write  (0000:01:00.0:region0+0x8, 0x5, 4)\n\
         2026-01-31T10:11:12.000004Z vfio_region_read  (0000:01:00.0:region0+0x8, 8) = 0x78\n\
         2026-01-31T10:11:12.000005Z vfio_msi_interrupt  (0000:01:00.0) vector 1 0xfee00000/0x31\n\
         2026-01-31T10:11:12.000006Z vfio_intx_interrupt  (0000:01:00.0) Pin A\n\
         2026-01-31T10:11:12.000007Z vfio_pci_reset  (0000:01:00.0)\n",
    ),
    (
        "ftrace",
        " qemu-system-x86-71 [001] .....  57.000001: tracing_mark_write: vfio_pci_read_config  (0000:01:00.0, @0x0, len=0x4) 0x11e81234\n\
         qemu-system-x86-71 [001] .....  57.000002: tracing_mark_write: vfio_msix_vector_do_use  (0000:01:00.0) vector 2 used\n\
         qemu-system-x86-71 [001] .....  57.000003: tracing_mark_write: vfio_region_write  (0000:01:00.0:region0+0x8, 0x5, 4)\n\
         qemu-system-x86-71 [000] .....  57.000004: tracing_mark_write: vfio_region_read  (0000:01:00.0:region0+0x8, 8) = 0x78\n\
         qemu-system-x86-71 [000] d.h..  57.000005: tracing_mark_write: vfio_msi_interrupt  (0000:01:00.0) vector 1 0xfee00000/0x31\n\
         qemu-system-x86-71 [000] .....  57.000006: tracing_mark_write: vfio_intx_interrupt  (0000:01:00.0) Pin A\n\
         qemu-system-x86-71 [000] .....  57.000007: tracing_mark_write: vfio_pci_reset  (0000:01:00.0)\n",
    ),
    (
        "systemtap",
        "71@1700000000000001000 vfio_pci_read_config  (0000:01:00.0, @0x0, len=0x4) 0x11e81234\n\
         71@1700000000000002000 vfio_msix_vector_do_use  (0000:01:00.0) vector 2 used\n\
         71@1700000000000003000 vfio_region_write  (0000:01:00.0:region0+0x8, 0x5, 4)\n\
         71@1700000000000004000 vfio_region_read  (0000:01:00.0:region0+0x8, 8) = 0x78\n\
         71@1700000000000005000 vfio_msi_interrupt  (0000:01:00.0) vector 1 0xfee00000/0x31\n\
         71@1700000000000006000 vfio_intx_interrupt  (0000:01:00.0) Pin A\n\
         71@1700000000000007000 vfio_pci_reset  (0000:01:00.0)\n",
    ),
    (
        "simple, by simpletrace.py",
        "vfio_pci_read_config 0.000 pid=71 name=b'0000:01:00.0' addr=0x0 len=0x4 val=0x11e81234\n\
         vfio_msix_vector_do_use 1.000 pid=71 name=b'0000:01:00.0' index=0x2\n\
         vfio_region_write 1.000 pid=71 name=b'0000:01:00.0' index=0x0 addr=0x8 data=0x5 size=0x4\n\
         vfio_region_read 1.000 pid=71 name=b'0000:01:00.0' index=0x0 addr=0x8 size=0x8 data=0x78\n\
         vfio_msi_interrupt 1.000 pid=71 name=b'0000:01:00.0' index=0x1 addr=0xfee00000 data=0x31\n\
         vfio_intx_interrupt 1.000 pid=71 name=b'0000:01:00.0' line=0x41\n\
         vfio_pci_reset 1.000 pid=71 name=b'0000:01:00.0'\n",
    ),
];

#[test]
fn each_log_backend_of_qemu_tells_the_same() {
    for (backend, log) in BACKENDS {
        let (header, events, sums, _) = run(log, Dialect::QemuVfio);
        assert_eq!((header.ids[0], header.ids[1]), (0x1234, 0x11e8), "{backend}");
        assert_eq!(header.msix.map(|(_, vectors)| vectors), Some(3), "{backend}: vector 2 is in use, although it was never sent");
        let expected = [
            "0 ConfigRead { offset: 0, data: [52, 18, 232, 17] }",
            "2000 Write { bar: 0, offset: 8, data: [5, 0, 0, 0] }",
            "3000 Read { bar: 0, offset: 8, data: [120, 0, 0, 0, 0, 0, 0, 0] }",
            "4000 Interrupt { vector: 1 }",
            "5000 Pin { level: true }",
            "6000 Reset",
        ];
        assert_eq!(events, expected, "{backend}");
        assert_eq!((sums.unread, sums.others), (0, 0), "{backend}");
    }
}

#[test]
fn of_several_devices_the_one_that_is_asked_for_is_imported_and_lines_of_the_others_are_counted() {
    let two: String = ["0000:01:00.0", "0000:02:00.0"]
        .into_iter()
        .flat_map(|device| BACKENDS[0].1.lines().map(move |line| line.replace("0000:01:00.0", device) + "\n"))
        .collect();
    let (_, events, sums, _) = run(&two, Dialect::QemuVfio);
    assert_eq!((events.len(), sums.others, sums.unread), (6, 7, 0), "the first one");
    let (_, events, sums, _) = run_for(&two, Dialect::QemuVfio, Some("0000:02:00.0"));
    assert_eq!((events.len(), sums.others, sums.unread), (6, 7, 0));
    let (_, events, sums, _) = run_for(&two, Dialect::QemuVfio, Some("0000:03:00.0"));
    assert_eq!((events.len(), sums.others), (0, 14));
}

#[test]
fn a_kernels_mmiotrace_has_accesses_of_each_width_and_marks() {
    let log = "\
        # tracer: mmiotrace\n\
        VERSION 20070824\n\
        PCIDEV 0018 12341111 0 fd000008 0 febd0000 0 0 0 0 1000000 0 1000 0 0 0 20000\n\
        LSPCI 00:03.0 VGA compatible controller\n\
        MARK 5.000000 begins\n\
        MAP 6.000000 1 0xfebd0000 0xffffa00000123000 0x1000 0x0 0\n\
        W 1 6.000001 1 0xfebd0400 0x63 0xffffffffc01 17\n\
        W 2 6.000002 1 0xfebd0500 0xb0c5 0xffffffffc01 17\n\
        R 4 6.000003 1 0xfebd0510 0xdeadbeef 0xffffffffc01 17\n\
        R 8 6.000004 1 0xfebd0518 0x1122334455667788 0xffffffffc01 17\n\
        R 3 6.000005 1 0xfebd0518 0x112233 0xffffffffc01 17\n\
        UNMAP 6.000006 1 0x0 0\n";
    let (header, events, sums, unread) = run(log, Dialect::Mmiotrace);
    assert_eq!((header.ids[0], header.ids[1], header.bars[2].unwrap().size), (0x1234, 0x1111, 0x1000));
    assert_eq!(
        events,
        [
            "0 Write { bar: 2, offset: 1024, data: [99] }",
            "1000 Write { bar: 2, offset: 1280, data: [197, 176] }",
            "2000 Read { bar: 2, offset: 1296, data: [239, 190, 173, 222] }",
            "3000 Read { bar: 2, offset: 1304, data: [136, 119, 102, 85, 68, 51, 34, 17] }",
        ]
    );
    assert_eq!((sums.unread, unread), (1, vec![11]), "no access has three bytes");
}
