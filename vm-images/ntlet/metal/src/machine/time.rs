//! Time: the time-stamp counter as the clock, the local timer as the alarm, the real-time clock for the date.

use core::sync::atomic::Ordering;

use super::sync::Once;
use super::{apic, cpu, processor};
use crate::acpi::Tables;
use crate::time_scale::{Date, PM_TIMER_HZ, Rate, system_time};

struct Clock {
    /// Time stamp at uptime 0.
    start: u64,
    rate: Rate,
    alarm: Alarm,
    /// System time at uptime 0.
    boot_time: u64,
}

/// How the local timer is told when to interrupt.
enum Alarm {
    /// By a time stamp.
    Deadline,
    /// By a count that it runs down at this rate.
    Count(Rate),
}

static CLOCK: Once<Clock> = Once::new();

/// Ticks of the reference clock to measure for: about 2 ms.
const MEASURED_TICKS: u32 = 7_200;
/// Reads of a reference clock that stands still before it is given up. Each takes about a microsecond.
const PATIENCE: u32 = 1_000_000;

/// Sets the clock going. `start` is the time stamp at which uptime began.
pub(crate) fn start(start: u64, tables: &Tables) {
    const TSC_DEADLINE: u32 = 1 << 24;
    let deadline_mode = cpu::identify(1).ecx & TSC_DEADLINE != 0;
    let (rate, alarm) = match reported_rate() {
        Some(hertz) if deadline_mode => (Rate::new(hertz), Alarm::Deadline),
        reported => {
            let (stamps, counts) = measure(tables.timer_port);
            let rate = Rate::new(reported.unwrap_or(stamps));
            (rate, if deadline_mode { Alarm::Deadline } else { Alarm::Count(Rate::new(counts)) })
        }
    };
    let uptime = rate.units(cpu::time_stamp() - start);
    let boot_time = read_date(tables.century_register).saturating_sub(uptime);
    CLOCK.set(Clock { start, rate, alarm, boot_time });
}

/// Frequency of the time-stamp counter, where processor or hypervisor say it.
fn reported_rate() -> Option<u64> {
    const HYPERVISOR_PRESENT: u32 = 1 << 31;
    const HYPERVISOR_LEAVES: u32 = 0x4000_0000;
    const HYPERVISOR_FREQUENCY: u32 = 0x4000_0010;
    if cpu::identify(0).eax >= 0x15 {
        let ratio = cpu::identify(0x15);
        if ratio.eax != 0 && ratio.ebx != 0 && ratio.ecx != 0 {
            return Some(u64::from(ratio.ecx) * u64::from(ratio.ebx) / u64::from(ratio.eax));
        }
    }
    let virtual_machine = cpu::identify(1).ecx & HYPERVISOR_PRESENT != 0;
    if virtual_machine && (HYPERVISOR_FREQUENCY..HYPERVISOR_FREQUENCY + 0x100).contains(&cpu::identify(HYPERVISOR_LEAVES).eax) {
        let kilohertz = cpu::identify(HYPERVISOR_FREQUENCY).eax;
        return (kilohertz != 0).then(|| u64::from(kilohertz) * 1000);
    }
    None
}

/// One reading of all three clocks.
struct Reading {
    reference: u32,
    stamp: u64,
    count: u32,
}

/// Frequencies of time-stamp counter and local timer, measured against the power-management timer.
fn measure(port: Option<u16>) -> (u64, u64) {
    let port = port.expect("the machine has an ACPI power-management timer, or says its time-stamp frequency");
    let read = || cpu::port_read(port, 4) & 0xff_ffff;
    apic::start_timer(u32::MAX, true);
    let first = read_together(read);
    let elapsed = |reading: &Reading| reading.reference.wrapping_sub(first.reference) & 0xff_ffff;
    let moved = (0..PATIENCE).any(|_| read().wrapping_sub(first.reference) & 0xff_ffff >= MEASURED_TICKS);
    assert!(moved, "the ACPI power-management timer stands still");
    let last = read_together(read);
    apic::start_timer(0, true);
    let per_second = |ticks: u64| ticks * PM_TIMER_HZ / u64::from(elapsed(&last));
    (per_second(last.stamp - first.stamp), per_second(u64::from(first.count - last.count)))
}

/// The least disturbed of a few readings: the host may take the processor away in the middle of one.
fn read_together(reference: impl Fn() -> u32) -> Reading {
    const ATTEMPTS: usize = 5;
    let attempt = |_| {
        let before = cpu::time_stamp();
        let reading = Reading { reference: reference(), stamp: cpu::time_stamp(), count: apic::timer_count() };
        (cpu::time_stamp() - before, reading)
    };
    let best = (0..ATTEMPTS).map(attempt).min_by_key(|(took, _)| *took);
    best.expect("there is more than one attempt").1
}

/// Time since [`start`]'s time stamp in units of 100 ns; 0 before the clock goes.
pub(crate) fn uptime() -> u64 {
    CLOCK.try_get().map_or(0, |clock| clock.rate.units(cpu::time_stamp().saturating_sub(clock.start)))
}

/// System time at uptime 0.
pub(crate) fn boot_time() -> u64 {
    CLOCK.get().boot_time
}

/// Time-stamp counter since start, and its frequency.
pub(crate) fn performance_counter() -> (u64, u64) {
    let clock = CLOCK.get();
    (cpu::time_stamp().saturating_sub(clock.start), clock.rate.hertz())
}

/// Readies this processor's alarm.
pub(crate) fn start_alarm() {
    if matches!(CLOCK.get().alarm, Alarm::Deadline) {
        apic::use_deadline_mode();
    }
}

/// Asks for a clock interrupt on this processor at an uptime; `u64::MAX` for none.
pub(crate) fn arm(deadline: u64) {
    let interrupts = cpu::interrupts_enabled();
    cpu::disable_interrupts();
    processor::current().clock_deadline.store(deadline, Ordering::Relaxed);
    set_alarm(deadline);
    if interrupts {
        // SAFETY: they were enabled on entry.
        unsafe { cpu::enable_interrupts() };
    }
}

fn set_alarm(deadline: u64) {
    let clock = CLOCK.get();
    let wait = deadline.saturating_sub(uptime());
    match clock.alarm {
        Alarm::Deadline if deadline == u64::MAX => apic::set_deadline(0),
        Alarm::Deadline => apic::set_deadline(cpu::time_stamp().saturating_add(clock.rate.ticks(wait))),
        Alarm::Count(_) if deadline == u64::MAX => apic::start_timer(0, true),
        // A wait longer than the counter can count is armed again when it has run down.
        Alarm::Count(rate) => apic::start_timer(u32::try_from(rate.ticks(wait)).unwrap_or(u32::MAX), false),
    }
}

/// Whether the alarm that has gone off is the one asked for; else it is set again. Interrupts at the clock's level do not nest.
pub(crate) fn clock_deadline_reached() -> bool {
    let wanted = &processor::current().clock_deadline;
    let deadline = wanted.load(Ordering::Relaxed);
    if deadline > uptime() {
        arm(deadline);
        return false;
    }
    wanted.store(u64::MAX, Ordering::Relaxed);
    true
}

/// System time that the real-time clock shows.
fn read_date(century_register: Option<u8>) -> u64 {
    const ATTEMPTS: usize = 10_000;
    let read = |register: u8| {
        cpu::port_write(0x70, 1, u32::from(register));
        cpu::port_read(0x71, 1)
    };
    let read_all = || {
        const UPDATING: u32 = 1 << 7;
        let registers = [0, 2, 4, 7, 8, 9, century_register.unwrap_or(9)];
        (read(0x0a) & UPDATING == 0).then(|| registers.map(read))
    };
    // Two equal readings in a row, none during an update.
    let mut readings = (0..ATTEMPTS).map(|_| (read_all(), read_all()));
    let Some(fields) = readings.find_map(|(first, second)| first.filter(|_| first == second)) else { return 0 };
    let format = read(0x0b);
    let (binary, hours24) = (format & 4 != 0, format & 2 != 0);
    let number = |value: u32| if binary { value } else { (value >> 4) * 10 + (value & 0xf) };
    let [second, minute, hour, day, month, year, century] = fields;
    let afternoon = !hours24 && hour & 0x80 != 0;
    let hour = number(if hours24 { hour } else { hour & 0x7f });
    let hour = if hours24 { hour } else { hour % 12 + if afternoon { 12 } else { 0 } };
    let century = if century_register.is_some() { number(century) } else { 20 };
    let year = century * 100 + number(year);
    system_time(Date { year, month: number(month), day: number(day), hour, minute: number(minute), second: number(second) })
}
