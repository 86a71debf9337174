//! `rig trace`: looks at traces, and makes other files of them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use device_model::trace::import::{self, Dialect};
use device_model::trace::look::{Describe, Difference, ExportError, Filter, RegisterMap, diff, json, perfetto, stat, vcd};
use device_model::trace::{Compression, Ending, Kind, Reader, TraceError, Writer};

use crate::console::note;
use crate::error::{Exit, Outcome, Problem};
use crate::interrupt::Interrupt;

/// Options of `rig trace`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows events, one a line: number, device time, kind, what happened. `~`: the device did it of its own accord.
    Show {
        /// The trace.
        trace: PathBuf,
        #[command(flatten)]
        look: Look,
    },
    /// Shows sums: events by kind, registers by use, how the trace ended.
    Stat {
        /// The trace.
        trace: PathBuf,
        /// TOML file that names registers.
        #[arg(long, value_name = "FILE")]
        map: Option<PathBuf>,
    },
    /// Shows where two traces part and where they meet again; exit status 1 if they differ. Times, descriptor numbers and addresses are
    /// not compared.
    Diff {
        /// One trace.
        left: PathBuf,
        /// The other.
        right: PathBuf,
        /// TOML file that names registers.
        #[arg(long, value_name = "FILE")]
        map: Option<PathBuf>,
        /// Differences to show; all are counted.
        #[arg(long, value_name = "N", default_value_t = 40)]
        most: u64,
    },
    /// Writes a trace in another form.
    Export {
        /// The trace.
        trace: PathBuf,
        /// The form.
        #[command(flatten)]
        form: Form,
        /// File to write. Default: standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        look: Look,
    },
    /// Copies what can be read of a trace into a whole new one, with an index.
    Copy {
        /// The trace.
        trace: PathBuf,
        /// The new file.
        copy: PathBuf,
        /// Pack its blocks with zstd.
        #[arg(long)]
        zstd: bool,
    },
    /// Replays a trace again and again, each time with some of the device's answers changed, and says what the driver makes of it. A bug check
    /// or a hang is a finding: its trace is kept, and its seed makes it again. Exit status 1 if there is one.
    Fuzz(Box<super::trace_change::Fuzz>),
    /// Makes a trace whose replay fails shorter, so that its replay still fails the same way.
    Shrink(Box<super::trace_change::Shrink>),
    /// Makes a trace of another program's log of a real device.
    Import {
        /// The log.
        log: PathBuf,
        /// The new trace.
        trace: PathBuf,
        /// Whose log it is.
        #[arg(long, value_enum)]
        from: From,
        /// The device that is wanted, as QEMU's log names it, such as 0000:01:00.0. Default: the first one in the log.
        #[arg(long, value_name = "NAME")]
        device: Option<String>,
        /// Lines that could not be read to show; all are counted.
        #[arg(long, value_name = "N", default_value_t = 10)]
        most: usize,
    },
}

/// Whose log is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// QEMU's trace log, with `-trace 'vfio_*'`.
    Qemu,
    /// The Linux kernel's mmiotrace.
    Mmiotrace,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Form {
    /// A timeline that <https://ui.perfetto.dev> opens.
    #[arg(long)]
    perfetto: bool,
    /// Waveforms (value change dump) that GTKWave and the like open.
    #[arg(long)]
    vcd: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Look {
    /// TOML file that names registers.
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Only events of these kinds: read, write, dma-read, interrupt, taken, given and so on, as `show` calls them.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind)]
    kind: Vec<Kind>,
    /// From this event on.
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Before this event.
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// From this device time on.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0.0)]
    since: f64,
    /// Before this device time.
    #[arg(long, value_name = "MILLISECONDS")]
    until: Option<f64>,
    /// Only registers whose name, or place such as `bar2+0x14`, contains this.
    #[arg(long, value_name = "NAME")]
    register: Option<String>,
    /// Only chains of this queue.
    #[arg(long, value_name = "N")]
    queue: Option<u16>,
    /// Only chains with this tag, decimal or 0x.
    #[arg(long, value_name = "TAG", value_parser = tag)]
    tag: Option<u64>,
}

fn kind(text: &str) -> Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| format!("choose of {}", names()))
}

fn tag(text: &str) -> Result<u64, String> {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
    parsed.map_err(|error| error.to_string())
}

impl Look {
    fn filter(&self) -> Filter {
        let nanoseconds = |milliseconds: f64| (milliseconds * 1e6) as u64;
        Filter {
            kinds: self.kind.clone(),
            from: self.from,
            to: self.to,
            since: nanoseconds(self.since),
            until: self.until.map(nanoseconds),
            register: self.register.clone(),
            queue: self.queue,
            tag: self.tag,
        }
    }
}

/// A trace that is read from a file.
pub(super) type FileReader = Reader<BufReader<File>>;

/// Does it.
///
/// # Errors
/// What is wrong with the files. A damaged trace is one, after all that was intact has been shown.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    match &arguments.command {
        Command::Show { trace, look } => show(trace, look),
        Command::Stat { trace, map } => sums(trace, map.as_deref()),
        Command::Diff { left, right, map, most } => differences(left, right, map.as_deref(), *most),
        Command::Export { trace, form, output, look } => export(trace, form, output.as_deref(), look),
        Command::Copy { trace, copy, zstd } => copy_whole(trace, copy, *zstd),
        Command::Fuzz(arguments) => super::trace_change::fuzz(arguments, interrupt),
        Command::Shrink(arguments) => super::trace_change::shrink(arguments, interrupt),
        Command::Import { log, trace, from, device, most } => import_log(log, trace, *from, device.as_deref(), *most),
    }
}

fn show(path: &Path, look: &Look) -> Outcome<Exit> {
    let mut reader = open(path)?;
    let describe = describe(&reader, look.map.as_deref())?;
    let filter = look.filter();
    if filter.from > 0 {
        reader.seek(filter.from).map_err(|error| damaged(path, &error))?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    loop {
        let number = reader.position();
        let event = match reader.next() {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) => {
                let _ = out.flush();
                return Err(damaged(path, &error));
            }
        };
        if filter.is_over(number, event.time) {
            break;
        }
        if filter.wants(number, &event, &describe) && writeln!(out, "{}", describe.line(number, &event)).is_err() {
            // Whoever reads has seen enough.
            return Ok(Exit::Passed);
        }
    }
    let _ = out.flush();
    drop(out);
    tell_ending(reader.ending());
    Ok(Exit::Passed)
}

fn tell_ending(ending: Option<Ending>) {
    if ending == Some(Ending::Unfinished) {
        note("the trace has no index: its recorder was stopped, and up to a block of events may be missing");
    }
}

fn sums(path: &Path, map: Option<&Path>) -> Outcome<Exit> {
    let mut reader = open(path)?;
    let describe = describe(&reader, map)?;
    let (sums, result) = stat(&mut reader, &describe);
    let header = reader.header();
    let mut out = io::stdout().lock();
    let [vendor, device, ..] = header.ids;
    let _ = writeln!(out, "{} ({vendor:04x}:{device:04x})", header.device);
    for (name, value) in header.notes.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "  {name}: {}", crate::console::printable(value));
    }
    let _ = write!(out, "{sums}");
    result.map_err(|error| damaged(path, &error)).map(|()| Exit::Passed)
}

fn differences(left: &Path, right: &Path, map: Option<&Path>, most: u64) -> Outcome<Exit> {
    let mut a = open(left)?;
    let mut b = open(right)?;
    let describe = describe(&a, map)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut told = 0;
    let result = diff(&mut a, &mut b, &describe, |difference| {
        told += 1;
        if told > most {
            return;
        }
        let _ = match difference {
            Difference::Left(line) => writeln!(out, "- {line}"),
            Difference::Right(line) => writeln!(out, "+ {line}"),
            Difference::Meet(a, b) => writeln!(out, "  they go on alike from {a} and {b}"),
            Difference::Parted => writeln!(out, "  they do not meet again in the next 512 events: the rest is not compared"),
        };
    });
    let _ = out.flush();
    let sum = result.map_err(|error| damaged(left, &error).so("`rig trace stat` tells which of the two is damaged"))?;
    if told > most {
        let _ = writeln!(out, "  {} more lines; --most shows more", told - most);
    }
    let Some((first_left, first_right)) = sum.first else {
        let _ = writeln!(out, "{} events, all alike", sum.alike);
        return Ok(Exit::Passed);
    };
    let (only_left, only_right) = sum.only;
    let _ = writeln!(
        out,
        "they part at event {first_left} of {} and {first_right} of {}; {} alike, {only_left} only in the first, {only_right} only in the second",
        left.display(),
        right.display(),
        sum.alike
    );
    Ok(Exit::Failed)
}

fn export(path: &Path, form: &Form, output: Option<&Path>, look: &Look) -> Outcome<Exit> {
    let mut reader = open(path)?;
    let describe = describe(&reader, look.map.as_deref())?;
    let filter = look.filter();
    let mut out: Box<dyn Write> = match output {
        Some(output) => Box::new(BufWriter::new(File::create(output).map_err(|error| cannot_write(output, &error))?)),
        None => Box::new(BufWriter::new(io::stdout().lock())),
    };
    let result = if form.json {
        json(&mut reader, &describe, &filter, &mut out)
    } else if form.perfetto {
        perfetto(&mut reader, &describe, &filter, &mut out)
    } else {
        vcd(&mut reader, &mut open(path)?, &describe, &filter, &mut out)
    };
    let name = output.unwrap_or(Path::new("standard output"));
    let flushed = out.flush().map_err(|error| cannot_write(name, &error));
    match result {
        Ok(()) => flushed.map(|()| Exit::Passed),
        Err(ExportError::Trace(error)) => Err(damaged(path, &error)),
        Err(ExportError::Output(error)) => Err(cannot_write(name, &error)),
    }
}

fn copy_whole(path: &Path, copy: &Path, zstd: bool) -> Outcome<Exit> {
    let mut reader = open(path)?;
    let writing = |error: io::Error| cannot_write(copy, &error);
    let file = File::create_new(copy).map_err(writing)?;
    let compression = if zstd { Compression::Zstd } else { Compression::None };
    let mut writer = Writer::new(file, reader.header(), compression).map_err(writing)?;
    let result = loop {
        match reader.next() {
            Ok(Some(event)) => writer.append(event.time, event.own_accord, &event.what).map_err(writing)?,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    writer.finish().map_err(writing)?;
    note(format!("{} events copied", writer.events()));
    match result {
        Ok(()) => Ok(Exit::Passed),
        Err(error) => Err(damaged(path, &error).so(format!("{} has all that is intact", copy.display()))),
    }
}

fn import_log(log: &Path, trace: &Path, from: From, device: Option<&str>, most: usize) -> Outcome<Exit> {
    refuse_binary(log)?;
    let input = File::open(log).map_err(|error| cannot_read(log, &error))?;
    let dialect = match from {
        From::Qemu => Dialect::QemuVfio,
        From::Mmiotrace => Dialect::Mmiotrace,
    };
    let parsed = import::survey(BufReader::new(&input), dialect, device).map_err(|error| cannot_read(log, &error))?;
    let writing = |error: io::Error| cannot_write(trace, &error);
    let header = parsed.header.with_note("imported from", log.display().to_string());
    let mut writer = Writer::new(File::create_new(trace).map_err(writing)?, &header, Compression::None).map_err(writing)?;
    let again = File::open(log).map_err(|error| cannot_read(log, &error))?;
    let mut shown = 0;
    let result = import::import(BufReader::new(again), dialect, device, &mut writer, |number, line| {
        if shown < most {
            shown += 1;
            note(format!("line {number} is not understood: {}", crate::console::printable(line)));
        }
    });
    let sums = result.map_err(|error| cannot_write(trace, &error))?;
    writer.finish().map_err(writing)?;
    note(format!("{} events of {} lines; {} lines are not understood", sums.events, sums.lines, sums.unread));
    if sums.others > 0 {
        note(format!("{} lines tell of other devices: --device names the one that is wanted", sums.others));
    }
    if sums.events == 0 {
        return Err(Problem::usage(format!("{} holds no event that can be imported", log.display()))
            .because("not one line has the form of this dialect")
            .so("docs/traces.md shows how to make such a log; --from names whose it is"));
    }
    Ok(Exit::Passed)
}

/// What QEMU's log backend `simple` writes is no text.
fn refuse_binary(log: &Path) -> Outcome<()> {
    /// Its header's event number and magic number.
    const SIMPLE: [u8; 16] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xb4, 0x29, 0xa4, 0x0a, 0xcb, 0x77, 0xb1, 0xf2];
    let mut beginning = Vec::new();
    let file = File::open(log).map_err(|error| cannot_read(log, &error))?;
    file.take(SIMPLE.len() as u64).read_to_end(&mut beginning).map_err(|error| cannot_read(log, &error))?;
    if beginning != SIMPLE {
        return Ok(());
    }
    Err(Problem::usage(format!("{} is no text", log.display()))
        .because("it is a trace of QEMU's backend `simple`")
        .so("make text of it with QEMU's scripts/simpletrace.py, and import that"))
}

pub(super) fn open(path: &Path) -> Outcome<FileReader> {
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    Reader::new(BufReader::new(file)).map_err(|error| damaged(path, &error))
}

fn describe(reader: &FileReader, map: Option<&Path>) -> Outcome<Describe> {
    let map = map.map(read_map).transpose()?;
    Ok(Describe::new(reader.header(), map))
}

fn read_map(path: &Path) -> Outcome<RegisterMap> {
    let text = std::fs::read_to_string(path).map_err(|error| cannot_read(path, &error))?;
    RegisterMap::from_toml(&text).map_err(|error| {
        Problem::usage(format!("{} is no map of registers", path.display()))
            .because(error.to_string())
            .so("docs/traces.md shows one")
    })
}

pub(super) fn cannot_read(path: &Path, error: &io::Error) -> Problem {
    Problem::usage(format!("cannot read {}", path.display()))
        .because(error.to_string())
        .so("name a file that exists and can be read")
}

pub(super) fn cannot_write(path: &Path, error: &io::Error) -> Problem {
    Problem::usage(format!("cannot write {}", path.display()))
        .because(error.to_string())
        .so("name a new file in a folder that can be written, on a disk with room")
}

pub(super) fn damaged(path: &Path, error: &TraceError) -> Problem {
    let problem = Problem::failed(format!("{} cannot be read to its end", path.display())).because(error.to_string());
    match error {
        TraceError::Cut { .. } | TraceError::Block { .. } => problem.so("`cargo rig trace copy` saves what is intact"),
        TraceError::System(_) => problem.so("check the disk"),
        _ => problem.so("record it again"),
    }
}
