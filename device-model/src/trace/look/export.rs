//! Traces for other programs: JSON lines, a timeline for Perfetto, waveforms.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};

use serde_json::{Map, Value, json};

use super::text::{hex, value};
use super::{Describe, Filter};
use crate::trace::{Event, Reader, TraceError, What};

/// Registers that have a waveform of their own: those that are used first.
const MOST_WIRES: usize = 256;
/// Chains in flight that a timeline can tell apart.
const MOST_CHAINS: usize = 1 << 16;

/// Why nothing could be exported, or no more.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The trace's fault.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The output's.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Call `each` for every event that is wanted. What is before a damaged place is exported.
fn for_each<R: Read>(
    reader: &mut Reader<R>,
    describe: &Describe,
    filter: &Filter,
    mut each: impl FnMut(u64, &Event<'_>) -> io::Result<()>,
) -> Result<(), ExportError> {
    loop {
        let number = reader.position();
        let Some(event) = reader.next()? else { return Ok(()) };
        if filter.is_over(number, event.time) {
            return Ok(());
        }
        if filter.wants(number, &event, describe) {
            each(number, &event)?;
        }
    }
}

/// One JSON object a line: `n`, `t_ns`, `own`, `kind` and what the kind has; data in hexadecimal.
///
/// # Errors
/// The trace's or the output's.
pub fn json<R: Read>(
    reader: &mut Reader<R>,
    describe: &Describe,
    filter: &Filter,
    out: &mut impl Write,
) -> Result<(), ExportError> {
    for_each(reader, describe, filter, |number, event| {
        let mut object = Map::new();
        object.insert("n".into(), number.into());
        object.insert("t_ns".into(), event.time.into());
        object.insert("own".into(), event.own_accord.into());
        object.insert("kind".into(), event.what.kind().name().into());
        if let Value::Object(rest) = fields(&event.what, describe) {
            object.extend(rest);
        }
        serde_json::to_writer(&mut *out, &object)?;
        out.write_all(b"\n")
    })
}

fn all_hex(data: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    data.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

fn fields(what: &What<'_>, describe: &Describe) -> Value {
    match *what {
        What::Read { bar, offset, data } | What::Write { bar, offset, data } => {
            json!({"bar": bar, "offset": offset, "size": data.len(), "value": value(data), "name": describe.place(bar, offset)})
        }
        What::ConfigRead { offset, data }
        | What::ConfigWrite { offset, data }
        | What::DeviceRead { offset, data }
        | What::DeviceWrite { offset, data }
        | What::SharedRead { offset, data } => json!({"offset": offset, "data": all_hex(data)}),
        What::DmaRead { address, data } | What::DmaWrite { address, data } => json!({"address": address, "data": all_hex(data)}),
        What::DmaFailed { address, length, write } => json!({"address": address, "length": length, "write": write}),
        What::Interrupt { vector } => json!({"vector": vector}),
        What::Pin { level } => json!({"level": level}),
        What::Reset | What::NeedsReset => json!({}),
        What::Power { state } => json!({"state": state}),
        What::Taken { queue, head, tag, readable, writable, data } => {
            json!({"queue": queue, "head": head, "tag": tag, "readable": readable, "writable": writable, "data": all_hex(data)})
        }
        What::Given { queue, head, written, data } => {
            json!({"queue": queue, "head": head, "written": written, "data": all_hex(data)})
        }
        What::QueueReset { queue } => json!({"queue": queue}),
        What::Start { features } => json!({"features": features}),
        What::Note { text } => json!({"text": String::from_utf8_lossy(text)}),
    }
}

/// A timeline in the JSON that <https://ui.perfetto.dev> and `chrome://tracing` open: a track of registers, one of DMA, one of
/// interrupts, and each chain from taken to given.
///
/// # Errors
/// The trace's or the output's.
pub fn perfetto<R: Read>(
    reader: &mut Reader<R>,
    describe: &Describe,
    filter: &Filter,
    out: &mut impl Write,
) -> Result<(), ExportError> {
    const TRACKS: [(u32, &str); 4] = [(1, "registers"), (2, "DMA"), (3, "interrupts"), (4, "device")];
    out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n")?;
    let name = |id: u32, name: &str| json!({"ph": "M", "pid": 1, "tid": id, "name": "thread_name", "args": {"name": name}});
    for (id, track) in TRACKS {
        serde_json::to_writer(&mut *out, &name(id, track)).map_err(io::Error::from)?;
        out.write_all(b",\n")?;
    }
    let mut chains: HashMap<(u16, u16), (u64, String)> = HashMap::new();
    let result = for_each(reader, describe, filter, |number, event| {
        let micros = event.time as f64 / 1e3;
        let told = describe.what(&event.what);
        let kind = event.what.kind().name();
        let entry = match event.what {
            What::Taken { queue, head, data, .. } => {
                let name = describe.taken(queue, data).unwrap_or_else(|| format!("queue {queue}: {}", hex(data)));
                let name: String = name.chars().take(40).collect();
                if chains.len() < MOST_CHAINS {
                    chains.insert((queue, head), (number, name.clone()));
                }
                json!({"ph": "b", "cat": format!("queue {queue}"), "id": number, "pid": 1, "tid": 4, "ts": micros, "name": name,
                    "args": {"taken": told}})
            }
            What::Given { queue, head, .. } => match chains.remove(&(queue, head)) {
                Some((id, name)) => {
                    json!({"ph": "e", "cat": format!("queue {queue}"), "id": id, "pid": 1, "tid": 4, "ts": micros, "name": name,
                        "args": {"given": told}})
                }
                None => instant(4, micros, kind, &told),
            },
            What::Read { bar, offset, .. } => instant(1, micros, &format!("read {}", describe.place(bar, offset)), &told),
            What::Write { bar, offset, .. } => instant(1, micros, &format!("write {}", describe.place(bar, offset)), &told),
            What::DmaRead { .. } | What::DmaWrite { .. } | What::DmaFailed { .. } => instant(2, micros, kind, &told),
            What::Interrupt { vector } => instant(3, micros, &format!("vector {vector}"), &told),
            What::Pin { level } => {
                json!({"ph": "C", "pid": 1, "ts": micros, "name": "pin", "args": {"level": u8::from(level)}})
            }
            _ => instant(4, micros, kind, &told),
        };
        serde_json::to_writer(&mut *out, &entry)?;
        out.write_all(b",\n")
    });
    // The list ends with an entry that says nothing, so that no entry has to know whether it is the last.
    serde_json::to_writer(&mut *out, &json!({"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "device"}}))
        .map_err(io::Error::from)?;
    out.write_all(b"\n]}\n")?;
    result
}

fn instant(track: u32, micros: f64, name: &str, told: &str) -> Value {
    json!({"ph": "i", "s": "t", "pid": 1, "tid": track, "ts": micros, "name": name, "args": {"event": told}})
}

/// A wire of a value change dump.
struct Wire {
    code: String,
    bits: usize,
}

/// Waveforms (IEEE 1364 value change dump): a wire for each register, as last read or written, for each vector, for the pin, and the number
/// of chains in flight on each queue. The trace is read twice: a dump names its wires first.
///
/// # Errors
/// The trace's or the output's.
pub fn vcd<R: Read>(
    first: &mut Reader<R>,
    second: &mut Reader<R>,
    describe: &Describe,
    filter: &Filter,
    out: &mut impl Write,
) -> Result<(), ExportError> {
    let mut wires: BTreeMap<String, Wire> = BTreeMap::new();
    let seen = for_each(first, describe, filter, |_, event| {
        if let Some((name, bits, _)) = wire(event, describe, 0)
            && (wires.len() < MOST_WIRES || wires.contains_key(&name))
        {
            let code = code(wires.len());
            let wire = wires.entry(name).or_insert(Wire { code, bits });
            wire.bits = wire.bits.max(bits);
        }
        Ok(())
    });
    writeln!(out, "$timescale 1 ns $end\n$scope module device $end")?;
    for (name, wire) in &wires {
        writeln!(out, "$var wire {} {} {} $end", wire.bits, wire.code, identifier(name))?;
    }
    writeln!(out, "$upscope $end\n$enddefinitions $end")?;
    let mut last = None;
    let mut pulses: Vec<String> = Vec::new();
    let mut in_flight: BTreeMap<u16, u64> = BTreeMap::new();
    for_each(second, describe, filter, |_, event| {
        let count = match event.what {
            What::Taken { queue, .. } => {
                let count = in_flight.entry(queue).or_default();
                *count += 1;
                *count
            }
            What::Given { queue, .. } => {
                let count = in_flight.entry(queue).or_default();
                *count = count.saturating_sub(1);
                *count
            }
            _ => 0,
        };
        let Some((name, _, value)) = wire(event, describe, count) else { return Ok(()) };
        let Some(wire) = wires.get(&name) else { return Ok(()) };
        if last != Some(event.time) {
            // A message is a pulse: it falls with the next moment.
            for code in pulses.drain(..) {
                writeln!(out, "#{}\n0{code}", last.unwrap_or(0) + 1)?;
            }
            writeln!(out, "#{}", event.time)?;
            last = Some(event.time);
        }
        if wire.bits == 1 { writeln!(out, "{}{}", value & 1, wire.code) } else { writeln!(out, "b{value:b} {}", wire.code) }?;
        if matches!(event.what, What::Interrupt { .. }) {
            pulses.push(wire.code.clone());
        }
        Ok(())
    })?;
    for code in pulses {
        writeln!(out, "#{}\n0{code}", last.unwrap_or(0) + 1)?;
    }
    seen
}

/// A name as a dump may have it: letters, digits and `_`, no digit first. Brackets would be taken for one bit of a vector.
fn identifier(name: &str) -> String {
    let letters = name.chars().filter(|letter| *letter != ']');
    let safe: String = letters.map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    if safe.starts_with(|first: char| first.is_ascii_digit()) { format!("_{safe}") } else { safe }
}

/// The wire that an event changes, its width, and its new value.
fn wire(event: &Event<'_>, describe: &Describe, in_flight: u64) -> Option<(String, usize, u64)> {
    match event.what {
        What::Read { bar, offset, data } | What::Write { bar, offset, data } => {
            Some((describe.place(bar, offset), 8 * data.len(), value(data)))
        }
        What::Interrupt { vector } => Some((format!("vector_{vector}"), 1, 1)),
        What::Pin { level } => Some(("pin".into(), 1, level.into())),
        What::Taken { queue, .. } | What::Given { queue, .. } => Some((format!("queue_{queue}_in_flight"), 16, in_flight)),
        What::Power { state } => Some(("power_state".into(), 2, state.into())),
        _ => None,
    }
}

/// The short name of the wire with this number: printable characters.
fn code(mut number: usize) -> String {
    let mut text = String::new();
    loop {
        text.push((b'!' + (number % 94) as u8) as char);
        number /= 94;
        if number == 0 {
            return text;
        }
    }
}
