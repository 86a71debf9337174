//! `rig trace` as a user meets it: what it shows, what it writes, what it says of files that are none.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Said, finish, mark, rig};
use device_model::testing::command;
use device_model::trace::{Compression, Header, Level, VirtioShape, What, Writer};
use protocol::hardware::Opcode;

fn trace(arguments: &[&str]) -> Said {
    finish(rig(&mark("trace")).arg("trace").args(arguments))
}

fn header() -> Header {
    let virtio = VirtioShape { id: 21, queue_sizes: vec![256; 3], features: 0, config_size: 48 };
    Header {
        level: Level::Virtio,
        device: "relay".into(),
        ids: [0x1af4, 0x1055, 0x1af4, 21],
        virtio: Some(virtio),
        ..Header::default()
    }
    .with_note("suite", "device")
}

/// A trace of two commands to the relay hardware, with `payload` in the second.
fn relay_trace(folder: &Path, name: &str, payload: &[u8]) -> PathBuf {
    let path = folder.join(name);
    let mut writer = Writer::new(fs::File::create(&path).unwrap(), &header(), Compression::None).unwrap();
    let mut time = 1_000_000;
    let mut add = |what: &What<'_>, own| {
        time += 500;
        writer.append(time, own, what).unwrap();
    };
    add(&What::Write { bar: 2, offset: 0x14, data: &[0x0f] }, false);
    for (tag, payload) in [(7_u64, &b"first"[..]), (8, payload)] {
        let bytes = command(tag, Opcode::ECHO, 0, payload);
        let (readable, head) = (bytes.len() as u64, tag as u16);
        add(&What::Write { bar: 2, offset: 0x3000, data: &[0, 0] }, false);
        add(&What::Taken { queue: 0, head, tag: Some(tag), readable, writable: 64, data: &bytes }, false);
        let answer = [&tag.to_le_bytes()[..], &[0; 4], &(payload.len() as u32).to_le_bytes(), payload].concat();
        add(&What::Given { queue: 0, head, written: answer.len() as u32, data: &answer }, true);
        add(&What::Interrupt { vector: 1 }, true);
        add(&What::Pin { level: tag == 7 }, false);
    }
    writer.finish().unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn show_names_registers_decodes_commands_and_filters() {
    let folder = tempfile::tempdir().unwrap();
    let path = relay_trace(folder.path(), "a.rigtrace", b"second");
    let said = trace(&["show", text(&path)]);
    assert_eq!(said.exit, Some(0), "{said}");
    assert_eq!(said.stdout.lines().count(), 11, "{said}");
    for wanted in
        ["device_status = 0x0f ACKNOWLEDGE|DRIVER|DRIVER_OK|FEATURES_OK", "notify[0]", "tag 0x7", "echo length 5", "~interrupt"]
    {
        assert!(said.stdout.contains(wanted), "{wanted}: {said}");
    }
    for (filter, count) in [
        (&["--kind", "write,interrupt"][..], 5),
        (&["--register", "notify"], 2),
        (&["--tag", "0x8"], 2),
        (&["--queue", "0"], 4),
        (&["--from", "3", "--to", "5"], 2),
        (&["--since", "1.0049"], 2),
        (&["--until", "1.0006"], 1),
    ] {
        let said = trace(&[&["show", text(&path)], filter].concat());
        assert_eq!((said.exit, said.stdout.lines().count()), (Some(0), count), "{filter:?}: {said}");
    }
    let map = folder.path().join("map.toml");
    fs::write(&map, "[[register]]\nbar = 2\noffset = 0x14\nname = \"mood\"\nbits = { GOOD = 0 }\n").unwrap();
    let said = trace(&["show", text(&path), "--map", text(&map), "--register", "mood"]);
    assert!(said.stdout.contains("mood = 0x0f GOOD|0xe"), "{said}");
}

#[test]
fn stat_and_diff_say_what_is_in_traces_and_where_they_part() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (relay_trace(folder.path(), "a", b"second"), relay_trace(folder.path(), "b", b"SECOND"));
    let said = trace(&["stat", text(&a)]);
    assert_eq!(said.exit, Some(0), "{said}");
    for wanted in ["relay (1af4:1055)", "suite: device", "11 events", "notify[0]", "taken"] {
        assert!(said.stdout.contains(wanted), "{wanted}: {said}");
    }
    let said = trace(&["diff", text(&a), text(&a)]);
    assert_eq!((said.exit, said.last_line()), (Some(0), "11 events, all alike"), "{said}");
    let said = trace(&["diff", text(&a), text(&b)]);
    assert_eq!(said.exit, Some(1), "{said}");
    assert!(said.stdout.contains("they part at event 7 of"), "{said}");
    assert!(said.stdout.lines().any(|line| line.starts_with("- ") && line.contains("7365636f6e64")), "{said}");
    assert!(said.stdout.lines().any(|line| line.starts_with("+ ") && line.contains("5345434f4e44")), "{said}");
    let said = trace(&["diff", text(&a), text(&b), "--most", "1"]);
    assert!(said.stdout.contains("more lines; --most shows more"), "{said}");
}

#[test]
fn exports_are_what_their_readers_expect() {
    let folder = tempfile::tempdir().unwrap();
    let path = relay_trace(folder.path(), "a", b"second");
    let out = folder.path().join("out");
    let said = trace(&["export", text(&path), "--perfetto", "-o", text(&out)]);
    assert_eq!(said.exit, Some(0), "{said}");
    check_timeline(&serde_json::from_slice(&fs::read(&out).unwrap()).unwrap());

    let said = trace(&["export", text(&path), "--json"]);
    let events: Vec<serde_json::Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 11);
    assert_eq!(
        (&events[0]["kind"], &events[0]["name"], &events[0]["value"]),
        (&"write".into(), &"device_status".into(), &15.into())
    );
    assert_eq!((&events[2]["tag"], &events[2]["t_ns"]), (&7.into(), &1_001_500.into()));

    let said = trace(&["export", text(&path), "--vcd"]);
    assert_eq!(said.exit, Some(0), "{said}");
    let waves = Waves::parse(&said.stdout);
    assert_eq!(waves.bits["device_status"], 8);
    assert_eq!(waves.changes["device_status"], [(1_000_500, 15)]);
    assert_eq!(waves.changes["pin"], [(1_003_000, 1), (1_005_500, 0)]);
    let rises: Vec<u64> = waves.changes["vector_1"].iter().filter(|(_, value)| *value == 1).map(|(time, _)| *time).collect();
    assert_eq!(rises, [1_002_500, 1_005_000]);
}

/// What Chrome's trace event format asks of a timeline.
fn check_timeline(told: &serde_json::Value) {
    let mut open: BTreeMap<(String, String), f64> = BTreeMap::new();
    let mut pairs = 0;
    for entry in told["traceEvents"].as_array().expect("a list of events") {
        let phase = entry["ph"].as_str().expect("each has a phase");
        assert!(entry["pid"].is_u64(), "{entry}");
        if phase == "M" {
            assert!(entry["args"]["name"].is_string(), "{entry}");
            continue;
        }
        let time = entry["ts"].as_f64().expect("each has a time in microseconds");
        assert!(entry["name"].is_string(), "{entry}");
        let key = || (entry["cat"].to_string(), entry["id"].to_string());
        match phase {
            "b" => assert!(open.insert(key(), time).is_none(), "{entry}"),
            "e" => {
                let began = open.remove(&key()).expect("what ends has begun");
                assert!(began <= time);
                pairs += 1;
            }
            "i" => assert!(["t", "p", "g"].contains(&entry["s"].as_str().unwrap()), "{entry}"),
            "C" => assert!(entry["args"].as_object().unwrap().values().all(serde_json::Value::is_number), "{entry}"),
            other => panic!("an unknown phase {other}"),
        }
    }
    assert_eq!((pairs, open.len()), (2, 0), "two chains, both given back");
}

/// A value change dump, as IEEE 1364 has it, read anew.
#[derive(Default)]
struct Waves {
    bits: BTreeMap<String, u32>,
    changes: BTreeMap<String, Vec<(u64, u64)>>,
}

impl Waves {
    fn parse(text: &str) -> Self {
        let mut waves = Self::default();
        let (definitions, changes) = text.split_once("$enddefinitions $end").expect("definitions end");
        let mut names = BTreeMap::new();
        let words: Vec<&str> = definitions.split_whitespace().collect();
        assert!(words.windows(4).any(|words| words == ["$timescale", "1", "ns", "$end"]));
        for (at, _) in words.iter().enumerate().filter(|(_, word)| **word == "$var") {
            let [_, "wire", bits, code, name, "$end"] = words[at..at + 6] else { panic!("{:?}", &words[at..at + 6]) };
            assert!(names.insert(code, name).is_none(), "a code stands for one wire");
            waves.bits.insert(name.to_owned(), bits.parse().unwrap());
        }
        let mut time = 0;
        let mut words = changes.split_whitespace();
        while let Some(word) = words.next() {
            let (value, code) = match word.split_at(1) {
                ("#", number) => {
                    let next = number.parse().unwrap();
                    assert!(next >= time, "time goes on");
                    time = next;
                    continue;
                }
                ("b", value) => (u64::from_str_radix(value, 2).unwrap(), words.next().expect("a vector's code")),
                ("0" | "1", code) => (word[..1].parse().unwrap(), code),
                _ => panic!("{word} is no change"),
            };
            waves.changes.entry(names[code].to_owned()).or_default().push((time, value));
        }
        waves
    }
}

#[test]
fn a_damaged_trace_is_shown_up_to_the_damage_and_copied_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = relay_trace(folder.path(), "a", b"second");
    let bytes = fs::read(&path).unwrap();
    // Only the index is gone: the recorder was stopped.
    let cut = folder.path().join("cut");
    fs::write(&cut, &bytes[..bytes.len() - 84]).unwrap();
    let copy = folder.path().join("copy");
    let said = trace(&["show", text(&cut)]);
    assert_eq!((said.exit, said.stdout.lines().count()), (Some(0), 11), "{said}");
    assert!(said.stderr.contains("has no index"), "{said}");
    let said = trace(&["copy", text(&cut), text(&copy), "--zstd"]);
    assert_eq!(said.exit, Some(0), "{said}");
    assert_eq!(trace(&["diff", text(&path), text(&copy)]).exit, Some(0));

    fs::write(&cut, &bytes[..bytes.len() - 100]).unwrap();
    for command in ["show", "stat"] {
        let said = trace(&[command, text(&cut)]);
        assert_eq!(said.exit, Some(1), "{said}");
        assert!(said.stderr.contains("ends in the middle of a block") && said.stderr.contains("trace copy"), "{said}");
    }
    let said = trace(&["copy", text(&cut), text(&copy)]);
    assert_eq!(said.exit, Some(2), "what is there is not written over: {said}");
}

#[test]
fn files_that_are_none_are_the_users_mistake_or_a_failed_trace() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    let other = folder.path().join("other");
    fs::write(&other, "no trace at all").unwrap();
    for command in ["show", "stat"] {
        assert_eq!(trace(&[command, text(&none)]).exit, Some(2));
        let said = trace(&[command, text(&other)]);
        assert!(said.exit == Some(1) && said.stderr.contains("this is no trace"), "{said}");
    }
    let path = relay_trace(folder.path(), "a", b"second");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    fs::write(&other, bytes).unwrap();
    let said = trace(&["stat", text(&other)]);
    assert!(said.exit == Some(1) && said.stderr.contains("version 9"), "{said}");
    for wrong in
        [&["show", text(&path), "--kind", "mood"][..], &["export", text(&path)], &["export", text(&path), "--vcd", "--json"]]
    {
        assert_eq!(trace(wrong).exit, Some(2), "{wrong:?}");
    }
    fs::write(&other, "[[register]]\nbar = 0\n").unwrap();
    let said = trace(&["show", text(&path), "--map", text(&other)]);
    assert!(said.exit == Some(2) && said.stderr.contains("is no map of registers"), "{said}");
    assert_eq!(trace(&["export", text(&path), "--json", "-o", "/nonexistent/file"]).exit, Some(2));
    let replay = finish(rig(&mark("replay")).args(["replay", text(&none)]));
    assert!(replay.exit == Some(2) && replay.stderr.contains("cannot be replayed"), "{replay}");
}

#[test]
fn logs_are_imported_and_lines_that_are_not_understood_are_counted_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (log, path) = (folder.path().join("vfio.log"), folder.path().join("imported"));
    let lines = "\
        2026-01-31T10:11:12.131415Z vfio_region_write  (0000:01:00.0:region0+0x8, 0x5, 4)\n\
        2026-01-31T10:11:12.131500Z vfio_region_read  (0000:01:00.0:region0+0x8, 4) = 0x78\n\
        2026-01-31T10:11:12.131500Z vfio_region_read  (0000:01:00.0:region0+0x8, 4) =\n\
        qemu-system-x86_64: something else\n\
        2026-01-31T10:11:12.131600Z vfio_msi_interrupt  (0000:01:00.0) vector 0 0xfee00000/0x31\n";
    fs::write(&log, lines).unwrap();
    let said = trace(&["import", text(&log), text(&path), "--from", "qemu"]);
    assert_eq!(said.exit, Some(0), "{said}");
    assert!(said.stderr.contains("3 events of 5 lines; 2 lines are not understood"), "{said}");
    assert!(said.stderr.contains("line 3 is not understood") && said.stderr.contains("line 4 is not understood"), "{said}");
    let said = trace(&["show", text(&path)]);
    assert!(said.stdout.contains("bar0+0x8 = 0x00000078") && said.stdout.contains("vector 0"), "{said}");

    let said = trace(&["import", text(&log), text(&folder.path().join("second")), "--from", "mmiotrace"]);
    assert!(said.exit == Some(2) && said.stderr.contains("holds no event"), "{said}");
    assert_eq!(trace(&["import", text(&folder.path().join("none")), "x", "--from", "qemu"]).exit, Some(2));
}

/// Megabytes of the trace that must be looked at in little memory. `TRACE_MEGABYTES=2048` for the size that users may have.
const MEGABYTES: u64 = 64;
/// Memory that looking may take, in KiB.
const MOST_MEMORY: u64 = 64 << 10;

#[test]
fn long_traces_are_shown_summed_and_compared_in_little_memory() {
    let megabytes = std::env::var("TRACE_MEGABYTES").map_or(MEGABYTES, |text| text.parse().expect("TRACE_MEGABYTES is a number"));
    // In the target folder: the system's own for temporary files may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (path, other) = (folder.path().join("long.rigtrace"), folder.path().join("other.rigtrace"));
    let number = long_trace(&path, megabytes, 1);
    long_trace(&other, megabytes, 2);
    let (path, other) = (text(&path), text(&other));
    for (arguments, exit) in [
        (&["show", path][..], 0),
        (&["stat", path], 0),
        (&["diff", path, path], 0),
        (&["diff", path, other], 1),
        (&["export", path, "--json"], 0),
        (&["export", path, "--perfetto"], 0),
        (&["export", path, "--vcd"], 0),
    ] {
        let (memory, seconds) = peak(arguments, exit);
        let told = arguments.join(" ").replace(folder.path().to_str().unwrap(), "");
        println!("{megabytes} MiB, {number} events: {told}: {memory} KiB at most, {seconds:.1} s");
        assert!(memory < MOST_MEMORY, "{told} takes {memory} KiB");
    }
}

/// A trace of so many megabytes, of registers, memory and interrupts; now and then an interrupt has the vector `rare`. The number of its events.
fn long_trace(path: &Path, megabytes: u64, rare: u16) -> u64 {
    let mut writer = Writer::new(BufWriter::new(fs::File::create(path).unwrap()), &header(), Compression::None).unwrap();
    let payload: Vec<u8> = (0..2000_u32).map(|index| index as u8).collect();
    let mut number = 0_u64;
    while writer.written() < megabytes << 20 {
        let what = match number % 4 {
            0 => What::Write { bar: 2, offset: 0x3000, data: &[0, 0] },
            1 => What::Read { bar: 2, offset: number % 1024 * 4, data: &[1, 2, 3, 4] },
            2 => What::DmaRead { address: number << 12, data: &payload },
            _ => What::Interrupt { vector: if number % 1000 == 3 { rare } else { 1 } },
        };
        writer.append(number * 1000, false, &what).unwrap();
        number += 1;
    }
    writer.finish().unwrap();
    number
}

/// Runs `rig trace` and returns the most memory that it had in use, in KiB, and its time.
fn peak(arguments: &[&str], exit: i32) -> (u64, f64) {
    let began = std::time::Instant::now();
    let mut child = rig(&mark("trace")).arg("trace").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        // The kernel's own high-water mark, which is gone with the process: looked at until then.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most = most.max(line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.parse().ok()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(exit));
            assert!(most > 0, "it was too quick to be looked at");
            return (most, began.elapsed().as_secs_f64());
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Runs rig with a gibibyte of address space: who believes a file's claims does not get far.
fn confined(arguments: &[&str]) -> Said {
    let inner = rig(&mark("trace"));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 1048576; exec \"$@\"", "sh"]).arg(inner.get_program()).args(arguments);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    finish(&mut command)
}

/// Files that are bad in one way each, by name.
fn bad_traces(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let whole = fs::read(relay_trace(folder, "whole", b"second")).unwrap();
    let block = whole.windows(4).position(|bytes| bytes == b"BLK1").unwrap();
    let changed = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let files = [
        ("empty", Vec::new()),
        ("cut in the header", whole[..block / 2].to_vec()),
        ("a header of four gibibytes", changed(12, &[0xff; 4])),
        ("another version", changed(8, &[9, 0])),
        ("cut in a block", whole[..block + 60].to_vec()),
        ("a block of four gibibytes", changed(block + 4, &[0xff; 8])),
        ("a flipped bit", changed(block + 50, &[whole[block + 50] ^ 4])),
        ("a block that is no zstd", changed(block + 32, &[1])),
    ];
    files
        .map(|(name, bytes)| {
            let path = folder.join(name);
            fs::write(&path, bytes).unwrap();
            (name, path)
        })
        .to_vec()
}

#[test]
fn whatever_is_wrong_with_a_trace_every_command_that_reads_it_says_so_and_takes_little_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let good = relay_trace(folder.path(), "good", b"second");
    for (what, bad) in bad_traces(folder.path()) {
        let copy = folder.path().join(format!("copy of {what}"));
        let (bad, copy, good) = (text(&bad), text(&copy), text(&good));
        for (words, exits) in [
            (&["trace", "show", bad][..], &[1][..]),
            (&["trace", "stat", bad], &[1]),
            (&["trace", "diff", bad, good], &[1]),
            (&["trace", "diff", good, bad], &[1]),
            (&["trace", "export", bad, "--json"], &[1]),
            (&["trace", "export", bad, "--perfetto"], &[1]),
            (&["trace", "export", bad, "--vcd"], &[1]),
            (&["trace", "copy", bad, copy], &[1]),
            (&["trace", "fuzz", bad, "--rounds", "1"], &[2]),
            (&["trace", "shrink", bad, copy], &[2]),
            (&["replay", bad], &[2]),
        ] {
            let said = confined(words);
            assert!(said.exit.is_some_and(|exit| exits.contains(&exit)), "{what}: {words:?}: {said}");
            assert!(said.stderr.lines().count() >= 3 && !said.stderr.contains("panicked"), "{what}: {words:?}: {said}");
        }
    }
}

#[test]
fn a_trace_that_is_packed_a_thousandfold_and_an_index_that_lies_cost_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("packed");
    let mut writer = Writer::new(fs::File::create(&packed).unwrap(), &header(), Compression::Zstd).unwrap();
    let zeroes = vec![0; 2 << 20];
    (0..50).for_each(|time| writer.append(time, false, &What::DmaRead { address: 0, data: &zeroes }).unwrap());
    writer.finish().unwrap();
    assert!(fs::metadata(&packed).unwrap().len() < 1 << 20, "100 MiB in less than one");
    let (memory, _) = peak(&["stat", text(&packed)], 0);
    assert!(memory < MOST_MEMORY, "{memory} KiB");

    let whole = fs::read(relay_trace(folder.path(), "whole", b"second")).unwrap();
    let lying = folder.path().join("lying");
    // The trailer names another place, and its checksum does not matter any more.
    let mut bytes = whole.clone();
    let at = bytes.len() - 12;
    bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&lying, bytes).unwrap();
    let said = confined(&["trace", "show", text(&lying), "--from", "9"]);
    assert_eq!((said.exit, said.stdout.lines().count()), (Some(0), 2), "{said}");
}

#[test]
fn whoever_reads_what_is_shown_may_stop_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let mut writer = Writer::new(fs::File::create(&path).unwrap(), &header(), Compression::None).unwrap();
    (0..20_000).for_each(|time| writer.append(time, false, &What::Reset).unwrap());
    writer.finish().unwrap();
    let mut child =
        rig(&mark("trace")).args(["trace", "show", text(&path)]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
