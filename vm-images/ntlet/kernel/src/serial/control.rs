//! I/O controls of serial ports. What the emulated line cannot do (speeds, breaks, flow control) is accepted and remembered, as a
//! program expects of a port.

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::{IO_STACK_LOCATION, IRP};

use super::port::Port;
use super::queue::Timeouts;
use crate::io::irp as packet;
use crate::lock::SpinLock;

const fn code(function: u32) -> u32 {
    0x1b << 16 | function << 2
}

const SET_BAUD_RATE: u32 = code(1);
const SET_QUEUE_SIZE: u32 = code(2);
const SET_LINE_CONTROL: u32 = code(3);
const SET_BREAK_ON: u32 = code(4);
const SET_BREAK_OFF: u32 = code(5);
const SET_TIMEOUTS: u32 = code(7);
const GET_TIMEOUTS: u32 = code(8);
const SET_DTR: u32 = code(9);
const CLR_DTR: u32 = code(10);
const RESET_DEVICE: u32 = code(11);
const SET_RTS: u32 = code(12);
const CLR_RTS: u32 = code(13);
const SET_XOFF: u32 = code(14);
const SET_XON: u32 = code(15);
const GET_WAIT_MASK: u32 = code(16);
const SET_WAIT_MASK: u32 = code(17);
const PURGE: u32 = code(19);
const GET_BAUD_RATE: u32 = code(20);
const GET_LINE_CONTROL: u32 = code(21);
const GET_CHARS: u32 = code(22);
const SET_CHARS: u32 = code(23);
const GET_HANDFLOW: u32 = code(24);
const SET_HANDFLOW: u32 = code(25);
const GET_MODEM_STATUS: u32 = code(26);
const GET_COMM_STATUS: u32 = code(27);

const PURGE_TX_ABORT: u32 = 1;
const PURGE_RX_ABORT: u32 = 2;
const PURGE_RX_CLEAR: u32 = 8;

/// What programs set and read back.
struct Settings {
    baud_rate: [u8; 4],
    line_control: [u8; 3],
    chars: [u8; 6],
    flow: [u8; 16],
    wait_mask: [u8; 4],
}

static SETTINGS: SpinLock<Settings> = SpinLock::new(Settings {
    baud_rate: 1200u32.to_le_bytes(),
    // One stop bit, no parity, eight bits.
    line_control: [0, 0, 8],
    chars: [0; 6],
    flow: [0; 16],
    wait_mask: [0; 4],
});

/// `IRP_MJ_DEVICE_CONTROL`.
///
/// # Safety
/// The IRP is ours.
pub(super) unsafe fn control(port: &Port, irp: *mut IRP, location: *mut IO_STACK_LOCATION) -> NTSTATUS {
    // SAFETY: the caller's promise; the system buffer is as long as the longer of both lengths.
    unsafe {
        let parameters = (*location).Parameters.DeviceIoControl;
        let (input, output) = (parameters.InputBufferLength as usize, parameters.OutputBufferLength as usize);
        let length = input.max(output);
        let start: *mut u8 = (*irp).AssociatedIrp.SystemBuffer.cast();
        let buffer = if start.is_null() { &mut [][..] } else { core::slice::from_raw_parts_mut(start, length) };
        match run(port, parameters.IoControlCode, buffer, input, output) {
            Ok(information) => packet::complete(irp, NTSTATUS::SUCCESS, information),
            Err(status) => packet::complete(irp, status, 0),
        }
    }
}

fn run(port: &Port, code: u32, buffer: &mut [u8], input: usize, output: usize) -> Result<usize, NTSTATUS> {
    let set = |field: &mut [u8]| {
        let source = buffer.get(..field.len()).filter(|_| input >= field.len()).ok_or(NTSTATUS::BUFFER_TOO_SMALL)?;
        field.copy_from_slice(source);
        Ok(0)
    };
    let mut settings = SETTINGS.lock();
    let answer: &[u8] = match code {
        SET_BAUD_RATE => {
            let mut rate = [0; 4];
            set(&mut rate)?;
            // The chip divides 115200; what it cannot do is refused.
            if !(1..=115_200).contains(&u32::from_le_bytes(rate)) {
                return Err(NTSTATUS::INVALID_PARAMETER);
            }
            settings.baud_rate = rate;
            return Ok(0);
        }
        SET_LINE_CONTROL => {
            let mut line = [0; 3];
            set(&mut line)?;
            if line[0] > 2 || line[1] > 4 || !(5..=8).contains(&line[2]) {
                return Err(NTSTATUS::INVALID_PARAMETER);
            }
            settings.line_control = line;
            return Ok(0);
        }
        SET_CHARS => return set(&mut settings.chars),
        SET_HANDFLOW => return set(&mut settings.flow),
        SET_WAIT_MASK => return set(&mut settings.wait_mask),
        SET_QUEUE_SIZE => return set(&mut [0; 8]),
        SET_TIMEOUTS => {
            let mut raw = [0; 20];
            set(&mut raw)?;
            port.queues.lock().timeouts = timeouts(&raw)?;
            return Ok(0);
        }
        PURGE => {
            let mut mask = [0; 4];
            set(&mut mask)?;
            drop(settings);
            purge(port, u32::from_le_bytes(mask));
            return Ok(0);
        }
        SET_BREAK_ON | SET_BREAK_OFF | SET_DTR | CLR_DTR | SET_RTS | CLR_RTS | SET_XOFF | SET_XON | RESET_DEVICE => return Ok(0),
        GET_TIMEOUTS => &timeouts_bytes(&port.queues.lock().timeouts),
        GET_BAUD_RATE => &settings.baud_rate,
        GET_LINE_CONTROL => &settings.line_control,
        GET_CHARS => &settings.chars,
        GET_HANDFLOW => &settings.flow,
        GET_WAIT_MASK => &settings.wait_mask,
        GET_MODEM_STATUS => &port.modem_status().to_le_bytes(),
        GET_COMM_STATUS => {
            // Errors, hold reasons, amount in queue in and out, end of file, immediate character.
            let mut status = [0; 20];
            status[8..12].copy_from_slice(&(port.available() as u32).to_le_bytes());
            &{ status }
        }
        _ => return Err(NTSTATUS::INVALID_DEVICE_REQUEST),
    };
    if output < answer.len() {
        return Err(NTSTATUS::BUFFER_TOO_SMALL);
    }
    buffer[..answer.len()].copy_from_slice(answer);
    Ok(answer.len())
}

/// The one combination that has no meaning is refused.
fn timeouts(raw: &[u8; 20]) -> Result<Timeouts, NTSTATUS> {
    let word = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    let timeouts = Timeouts {
        read_interval: word(0),
        read_multiplier: word(4),
        read_constant: word(8),
        write_multiplier: word(12),
        write_constant: word(16),
    };
    let all = [timeouts.read_interval, timeouts.read_multiplier, timeouts.read_constant];
    if all == [u32::MAX; 3] { Err(NTSTATUS::INVALID_PARAMETER) } else { Ok(timeouts) }
}

fn timeouts_bytes(timeouts: &Timeouts) -> [u8; 20] {
    let words = [
        timeouts.read_interval,
        timeouts.read_multiplier,
        timeouts.read_constant,
        timeouts.write_multiplier,
        timeouts.write_constant,
    ];
    let mut bytes = [0; 20];
    for (chunk, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *chunk = word.to_le_bytes();
    }
    bytes
}

fn purge(port: &Port, mask: u32) {
    if mask & PURGE_RX_CLEAR != 0 {
        port.discard();
    }
    if mask & (PURGE_RX_ABORT | PURGE_TX_ABORT) != 0 {
        port.cancel_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_documentation() {
        assert_eq!(SET_BAUD_RATE, 0x001b_0004);
        assert_eq!(SET_TIMEOUTS, 0x001b_001c);
        assert_eq!(GET_COMM_STATUS, 0x001b_006c);
    }

    #[test]
    fn time_outs_come_back_as_they_were_set_and_the_meaningless_ones_are_refused() {
        let raw: [u8; 20] = core::array::from_fn(|at| at as u8);
        assert_eq!(timeouts_bytes(&timeouts(&raw).unwrap()), raw);
        assert_eq!(timeouts(&[0xff; 20]), Err(NTSTATUS::INVALID_PARAMETER));
    }
}
