use super::super::format::*;
use super::*;

fn header() -> Header {
    Header { device: "example".into(), ..Header::default() }
}

/// One event of each kind, at times that need short and long steps.
fn each_kind() -> Vec<(u64, bool, What<'static>)> {
    let whats = [
        What::Read { bar: 2, offset: 0x14, data: &[0x0f] },
        What::Write { bar: 5, offset: 0x3_fff8, data: &[1, 2, 3, 4, 5, 6, 7, 8] },
        What::ConfigRead { offset: 0xffc, data: &[1, 2, 3, 4] },
        What::ConfigWrite { offset: 4, data: &[6, 0] },
        What::DmaRead { address: u64::MAX, data: b"out" },
        What::DmaWrite { address: 0x1000, data: &[] },
        What::DmaFailed { address: 7, length: u64::MAX, write: true },
        What::Interrupt { vector: 2047 },
        What::Pin { level: true },
        What::Reset,
        What::Power { state: 3 },
        What::Taken { queue: 1, head: 255, tag: Some(u64::MAX), readable: 5, writable: 1 << 40, data: b"chain" },
        What::Taken { queue: 0, head: 0, tag: None, readable: 0, writable: 0, data: b"" },
        What::Given { queue: 1, head: 255, written: u32::MAX, data: b"answer" },
        What::QueueReset { queue: 2 },
        What::NeedsReset,
        What::Start { features: 1 << 32 },
        What::DeviceRead { offset: 8, data: &[0; 8] },
        What::DeviceWrite { offset: 8, data: &[9] },
        What::SharedRead { offset: 0x10, data: &[7; 4] },
        What::Note { text: "a note".as_bytes() },
    ];
    let times = (0..).map(|index: u32| 3_u64.pow(index));
    whats.into_iter().zip(times).enumerate().map(|(index, (what, time))| (time, index % 3 == 0, what)).collect()
}

/// A trace of three blocks, and the number of events at the end of each, with the offset there.
fn three_blocks(compression: Compression) -> (Vec<u8>, Vec<Owned>, Vec<(usize, usize)>) {
    let mut writer = Writer::new(Vec::new(), &header(), compression).unwrap();
    let (mut all, mut ends) = (Vec::new(), Vec::new());
    for block in 0..3 {
        for (time, own_accord, what) in each_kind() {
            let time = time + block * 4_000_000_000;
            writer.append(time, own_accord, &what).unwrap();
            all.push(owned(&Event { time, own_accord, what }));
        }
        writer.flush().unwrap();
        ends.push((all.len(), writer.written() as usize));
    }
    writer.finish().unwrap();
    (writer.into_inner(), all, ends)
}

#[test]
fn every_kind_of_event_comes_back_as_it_was_written() {
    for compression in [Compression::None, Compression::Zstd] {
        let (bytes, all, _) = three_blocks(compression);

        let (found, ending) = read(&bytes);

        assert_eq!(found, all);
        assert_eq!(ending.unwrap(), Some(Ending::Finished));
    }
    assert_eq!(Kind::ALL.len(), each_kind().len() - 1, "the list has each kind, and chains with and without a tag");
}

#[test]
fn a_register_event_takes_at_most_sixteen_bytes() {
    for (offset, length) in [(0x3_ffff_u64, 8), ((1 << 46) - 1, 4), (0x1000, 1)] {
        for step in [0, 1, 0xfff_ffff] {
            let data = [0xff; 8];
            let mut bytes = Vec::new();
            event::encode_whole(&mut bytes, step, true, &What::Write { bar: 5, offset, data: &data[..length] });
            assert!(bytes.len() <= 16, "{} bytes for {length} at {offset:#x} after {step}", bytes.len());
        }
    }
}

#[test]
fn a_trace_cut_at_any_byte_gives_all_whole_blocks_before_the_cut() {
    for compression in [Compression::None, Compression::Zstd] {
        let (bytes, all, ends) = three_blocks(compression);
        for cut in 0..bytes.len() {
            let whole = ends.iter().filter(|(_, end)| *end <= cut).map(|(events, _)| *events).next_back().unwrap_or(0);

            let (found, ending) = read(&bytes[..cut]);

            assert_eq!(found, all[..whole], "cut at {cut}");
            assert!(!matches!(ending, Ok(Some(Ending::Finished))) || found == all, "cut at {cut}");
            assert!(!matches!(ending, Ok(None)), "cut at {cut}");
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_and_what_came_before_it_is_intact() {
    for compression in [Compression::None, Compression::Zstd] {
        let (bytes, all, ends) = three_blocks(compression);
        for bit in 0..8 * ends[2].1 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let whole = ends.iter().filter(|(_, end)| *end <= bit / 8).map(|(events, _)| *events).next_back().unwrap_or(0);

            let (found, ending) = read(&bytes);

            assert_eq!(found, all[..whole], "bit {bit}");
            assert!(ending.is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a_writer_killed_at_any_write_leaves_all_blocks_but_the_one_under_way() {
    /// Takes so many writes, and then no more.
    struct Mortal {
        bytes: Vec<u8>,
        left: usize,
    }
    impl Write for Mortal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.left == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.left -= 1;
            self.bytes.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let events: Vec<_> = (0..40_000_u64).map(|index| (index, index.to_le_bytes())).collect();
    for left in 1..12 {
        let mut writer = Writer::new(Mortal { bytes: Vec::new(), left }, &header(), Compression::None).unwrap();
        let (mut appended, mut flushed) = (0, 0);
        for (time, data) in &events {
            let before = writer.written();
            if writer.append(*time, false, &What::Write { bar: 0, offset: 0, data }).is_err() {
                break;
            }
            if writer.written() > before {
                flushed = appended;
            }
            appended += 1;
        }
        let finished = appended == events.len() && writer.finish().is_ok();

        let (found, ending) = read(&writer.into_inner().bytes);

        assert!(found.len() >= flushed, "{left} writes: {} of {flushed} events are there", found.len());
        assert!(appended - found.len() < 64 << 10, "a block's events at most are missing");
        assert_eq!(matches!(ending, Ok(Some(Ending::Finished))), finished, "{left} writes");
        assert!(ending.is_ok(), "a block is written whole or not at all");
    }
}

#[test]
fn another_version_and_another_file_are_refused_by_name() {
    let (mut bytes, ..) = three_blocks(Compression::None);
    assert!(matches!(Reader::new(&b"MZ this is a program, not a trace"[..]), Err(TraceError::NoTrace)));
    bytes[8] = 2;
    assert!(matches!(Reader::new(&bytes[..]), Err(TraceError::Version(2))));
    bytes[8] = 1;
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Reader::new(&bytes[..]), Err(TraceError::Header(_))));
}

/// A trace whose only block is `payload`, described by `header` with its checksum made right.
fn one_block(header_of_block: BlockHeader, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Writer::new(Vec::new(), &header(), Compression::None).unwrap().into_inner();
    let head = header_of_block.head();
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&checksum(&[&head, payload]).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn a_block_that_claims_four_gibibytes_is_refused_before_any_memory_is_taken() {
    let block = BlockHeader { stored: 8, raw: 8, count: 1, first_event: 0, base_time: 0, storage: 0, holds: 0, checksum: 0 };
    for huge in [
        BlockHeader { stored: u32::MAX, raw: u32::MAX, ..block },
        BlockHeader { stored: MAX_BLOCK as u32 + 1, raw: MAX_BLOCK as u32 + 1, ..block },
        BlockHeader { raw: u32::MAX, storage: STORED_ZSTD, ..block },
    ] {
        let (events, error) = read(&one_block(huge, &[0; 8]));
        assert!(events.is_empty());
        assert!(matches!(error, Err(TraceError::Block { reason, .. }) if reason.contains("claims")), "{huge:?}");
    }
}

#[test]
fn a_zstd_bomb_finds_no_more_room_than_its_block_claims() {
    let bomb = ruzstd::encoding::compress_to_vec(&vec![0_u8; 64 << 20][..], ruzstd::encoding::CompressionLevel::Fastest);
    assert!(bomb.len() < 1 << 20);
    let block = BlockHeader {
        stored: bomb.len() as u32,
        raw: 100,
        count: 1,
        first_event: 0,
        base_time: 0,
        storage: STORED_ZSTD,
        holds: 0,
        checksum: 0,
    };
    for raw in [100, MAX_BLOCK as u32] {
        let (events, error) = read(&one_block(BlockHeader { raw, ..block }, &bomb));
        assert!(events.is_empty());
        assert!(matches!(error, Err(TraceError::Block { .. })), "{error:?}");
    }
}

#[test]
fn events_that_are_none_are_told_with_the_block_they_stand_in() {
    for payload in [
        &[0x1f, 0][..],
        &[0xff; 16],
        &[3, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[9, 0, 2],
        &[0, 0],
        &[10, 0, 10, 0],
        &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 1, 10, 0],
    ] {
        let length = payload.len() as u32;
        let block = BlockHeader {
            stored: length,
            raw: length,
            count: 1,
            first_event: 0,
            base_time: 1,
            storage: 0,
            holds: 0,
            checksum: 0,
        };
        let (_, error) = read(&one_block(block, payload));
        assert!(matches!(error, Err(TraceError::Block { .. })), "{payload:?}: {error:?}");
    }
}

#[test]
fn reading_can_begin_near_any_event() {
    let (bytes, all, _) = three_blocks(Compression::None);
    let mut reader = Reader::new(Cursor::new(&bytes)).unwrap();
    for number in [0, 20, 21, 45, 62, 1000] {
        reader.seek(number).unwrap();
        let from = reader.position() as usize;
        assert_eq!(from, (number as usize / 21 * 21).min(42));
        assert_eq!(owned(&reader.next().unwrap().unwrap()), all[from]);
    }
}

#[test]
fn an_index_that_lies_costs_time_and_nothing_else() {
    let (bytes, all, ends) = three_blocks(Compression::None);
    let index = IndexEntry { offset: 0, first_event: 0, base_time: 0 };
    for (offset, first_event) in
        [(ends[0].1 as u64 + 1, 21), (ends[0].1 as u64, 22), (ends[1].1 as u64, 21), (u64::MAX, 21), (0, 21)]
    {
        let mut bytes = bytes[..ends[2].1].to_vec();
        let at = bytes.len() as u64;
        let entry = IndexEntry { offset, first_event, ..index }.bytes();
        let block = BlockHeader {
            stored: 24,
            raw: 24,
            count: 1,
            first_event: 63,
            base_time: 0,
            storage: 0,
            holds: HOLDS_INDEX,
            checksum: 0,
        };
        let head = block.head();
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&checksum(&[&head, &entry]).to_le_bytes());
        bytes.extend_from_slice(&entry);
        bytes.extend_from_slice(&trailer(at));

        let mut reader = Reader::new(Cursor::new(&bytes)).unwrap();
        reader.seek(30).unwrap();

        assert_eq!(reader.position(), 0, "{offset:#x}");
        assert_eq!(owned(&reader.next().unwrap().unwrap()), all[0]);
    }
}

#[test]
fn the_index_of_a_long_trace_stays_short() {
    let mut writer = Writer::new(io::sink(), &header(), Compression::None).unwrap();
    for time in 0..2 * MAX_INDEX as u64 {
        writer.append(time, false, &What::Reset).unwrap();
        writer.flush().unwrap();
    }
    assert!(writer.index_length() < MAX_INDEX);
    writer.finish().unwrap();
}

#[test]
fn the_worked_example_in_the_documentation_is_what_the_code_writes() {
    let mut writer = Writer::new(Vec::new(), &header(), Compression::None).unwrap();
    writer.append(1_000_000, false, &What::Write { bar: 2, offset: 0x3000, data: &[0, 0] }).unwrap();
    let chain = What::Taken { queue: 0, head: 4, tag: Some(7), readable: 2, writable: 16, data: b"hi" };
    writer.append(1_000_300, false, &chain).unwrap();
    writer.append(1_000_300, true, &What::Interrupt { vector: 1 }).unwrap();
    writer.finish().unwrap();
    let written = writer.into_inner();

    let page = include_str!("../../../../docs/trace-format.md");
    let example = page.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of hex");
    let bytes = example.lines().flat_map(|line| line.split_once(':').and_then(|(_, rest)| rest.split('|').next()));
    let told: Vec<u8> = bytes.flat_map(str::split_whitespace).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();

    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    assert_eq!(hex(&told), hex(&written));
}
