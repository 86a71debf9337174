use super::*;
use crate::trace::{Compression, Header, Reader, VirtioShape, What, Writer};

fn header() -> Header {
    let virtio = VirtioShape { id: 21, queue_sizes: vec![4], features: 0, config_size: 0 };
    Header { device: "relay".into(), virtio: Some(virtio), ..Header::default() }
}

fn trace(events: &[(u64, What<'_>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header(), Compression::None).unwrap();
    for (time, what) in events {
        writer.append(*time, false, what).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner()
}

/// A trace of four writes, of 10 to 13 unless said otherwise.
fn writes(values: &[u8]) -> Vec<u8> {
    let data: Vec<_> = values.iter().map(|value| [*value]).collect();
    trace(&data.iter().enumerate().map(|(at, data)| (at as u64, What::Write { bar: 2, offset: 0x16, data })).collect::<Vec<_>>())
}

fn describe() -> Describe {
    Describe::new(&header(), None)
}

#[test]
fn registers_have_names_and_bits_have_too() {
    let text = describe().what(&What::Write { bar: 2, offset: 0x14, data: &[0x4f] });
    assert_eq!(text, "device_status = 0x4f ACKNOWLEDGE|DRIVER|DRIVER_OK|FEATURES_OK|NEEDS_RESET");
    assert_eq!(describe().what(&What::Write { bar: 2, offset: 0x3008, data: &[0, 0] }), "notify[2] = 0x0000");
    assert_eq!(describe().what(&What::Read { bar: 2, offset: 0x24, data: &[1; 4] }), "queue_desc+0x4 = 0x01010101");
    assert_eq!(describe().what(&What::Read { bar: 0, offset: 0x24, data: &[1] }), "bar0+0x24 = 0x01");
}

#[test]
fn a_map_with_nonsense_is_refused() {
    assert!(RegisterMap::from_toml("[[register]]\nbar=0\noffset=0\nname='x'\nlength=0").is_err());
    assert!(RegisterMap::from_toml("[[register]]\nbar=0\noffset=0\nname='x'\ncount=100000000").is_err());
    assert!(RegisterMap::from_toml("[[register]]\nbar=0\noffset=18446744073709551615").is_err());
}

#[test]
fn commands_of_the_relay_hardware_are_told_in_words() {
    let command = crate::testing::command(0x11, protocol::hardware::Opcode::DELAY, 5, b"ab");
    let what = What::Taken { queue: 0, head: 1, tag: Some(0x11), readable: 34, writable: 18, data: &command };
    assert_eq!(describe().what(&what), "queue 0 head 1 tag 0x11, 34 bytes out, 18 in: delay length 2 argument 0x5: 6162");
}

#[test]
fn alike_traces_have_no_difference() {
    let bytes = writes(&[10, 11, 12, 13]);
    let mut told = Vec::new();
    let sum = diff(&mut Reader::new(&bytes[..]).unwrap(), &mut Reader::new(&bytes[..]).unwrap(), &describe(), |d| told.push(d));
    assert_eq!(sum.unwrap(), Parting { alike: 4, first: None, only: (0, 0) });
    assert!(told.is_empty());
}

#[test]
fn a_difference_names_what_each_has_alone_and_where_they_meet_again() {
    let (left, right) = (writes(&[1, 2, 3, 4, 5, 6, 7]), writes(&[1, 2, 9, 8, 4, 5, 6, 7]));
    let mut told = Vec::new();
    let sum = diff(&mut Reader::new(&left[..]).unwrap(), &mut Reader::new(&right[..]).unwrap(), &describe(), |d| told.push(d));
    assert_eq!(sum.unwrap(), Parting { alike: 6, first: Some((2, 2)), only: (1, 2) });
    assert!(
        matches!(&told[..], [Difference::Left(_), Difference::Right(_), Difference::Right(_), Difference::Meet(3, 4)]),
        "{told:?}"
    );
}

#[test]
fn traces_that_never_meet_again_are_not_read_to_their_ends() {
    let events = |value: u8| {
        let data = [value];
        trace(&(0..2000).map(|time| (time, What::Write { bar: 0, offset: 0, data: &data })).collect::<Vec<_>>())
    };
    let (left, right) = (events(1), events(2));
    let mut told = Vec::new();
    let mut reader = Reader::new(&left[..]).unwrap();
    let sum = diff(&mut reader, &mut Reader::new(&right[..]).unwrap(), &describe(), |d| told.push(d)).unwrap();
    assert_eq!((sum.alike, sum.first), (0, Some((0, 0))));
    assert_eq!(told.last(), Some(&Difference::Parted));
    assert!(reader.position() < 2000);
}

#[test]
fn filters_choose_by_kind_number_time_register_queue_and_tag() {
    let events = [
        (10, What::Write { bar: 2, offset: 0x14, data: &[1] }),
        (20, What::Taken { queue: 1, head: 0, tag: Some(7), readable: 0, writable: 0, data: b"" }),
        (30, What::Given { queue: 1, head: 0, written: 8, data: &[7, 0, 0, 0, 0, 0, 0, 0] }),
        (40, What::Interrupt { vector: 1 }),
    ];
    let bytes = trace(&events);
    let chosen = |filter: Filter| {
        let mut out = Vec::new();
        json(&mut Reader::new(&bytes[..]).unwrap(), &describe(), &filter, &mut out).unwrap();
        let lines = String::from_utf8(out).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let all = Filter::default();
    assert_eq!(chosen(Filter { kinds: vec![crate::trace::Kind::Interrupt], ..all.clone() }), [3]);
    assert_eq!(chosen(Filter { from: 1, to: Some(3), ..all.clone() }), [1, 2]);
    assert_eq!(chosen(Filter { since: 20, until: Some(40), ..all.clone() }), [1, 2]);
    assert_eq!(chosen(Filter { register: Some("status".into()), ..all.clone() }), [0]);
    assert_eq!(chosen(Filter { queue: Some(1), tag: Some(7), ..all.clone() }), [1, 2]);
    assert_eq!(chosen(all), [0, 1, 2, 3]);
}

#[test]
fn a_timeline_is_json_in_which_each_chain_begins_and_ends() {
    let events = [
        (10, What::Taken { queue: 0, head: 3, tag: None, readable: 2, writable: 0, data: b"hi" }),
        (20, What::Pin { level: true }),
        (30, What::Given { queue: 0, head: 3, written: 0, data: b"" }),
    ];
    let mut out = Vec::new();
    perfetto(&mut Reader::new(&trace(&events)[..]).unwrap(), &describe(), &Filter::default(), &mut out).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let entries = told["traceEvents"].as_array().unwrap();
    let of = |phase: &str| entries.iter().find(|entry| entry["ph"] == phase).unwrap();
    assert_eq!((&of("b")["id"], &of("b")["ts"], &of("e")["ts"]), (&of("e")["id"], &0.01.into(), &0.03.into()));
}

#[test]
fn waveforms_declare_their_wires_and_change_them_in_order() {
    let events = [
        (10, What::Write { bar: 2, offset: 0x16, data: &[2, 0] }),
        (10, What::Interrupt { vector: 1 }),
        (40, What::Pin { level: true }),
    ];
    let bytes = trace(&events);
    let mut out = Vec::new();
    let (mut first, mut second) = (Reader::new(&bytes[..]).unwrap(), Reader::new(&bytes[..]).unwrap());
    vcd(&mut first, &mut second, &describe(), &Filter::default(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let expected = "$timescale 1 ns $end\n$scope module device $end\n$var wire 1 # pin $end\n$var wire 16 ! queue_select $end\n\
        $var wire 1 \" vector_1 $end\n$upscope $end\n$enddefinitions $end\n#10\nb10 !\n1\"\n#11\n0\"\n#40\n1#\n";
    assert_eq!(text, expected);
}

#[test]
fn sums_tell_kinds_registers_and_how_the_trace_ended() {
    let bytes = writes(&[1, 2, 3]);
    let (sums, result) = stat(&mut Reader::new(&bytes[..]).unwrap(), &describe());
    result.unwrap();
    let text = sums.to_string();
    assert!(text.contains("3 events in 0.000002 ms") && text.contains("queue_select"), "{text}");

    let (sums, result) = stat(&mut Reader::new(&bytes[..bytes.len() - 90]).unwrap(), &describe());
    assert!(result.is_err() && sums.to_string().contains("cannot be read to its end"));
}
