//! Time: since the machine started, since 1601, and the page that drivers read time from without a call.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use wdf_sys::wdm::TIME_FIELDS;
use wdf_sys::{BOOLEAN, FALSE, TRUE};

use crate::dispatcher::clock::TICK;
use crate::hal;

const UNITS_PER_MICROSECOND: u64 = 10;
const SECOND: i64 = 10_000_000;
const DAY: i64 = 86_400 * SECOND;

/// System time: units of 100 ns since 1601.
pub fn system_time() -> i64 {
    (hal().boot_time() + hal().uptime()) as i64
}

/// Time since the machine started, in units of 100 ns.
pub fn uptime() -> u64 {
    hal().uptime()
}

/// `KSYSTEM_TIME`: a 64-bit time that a 32-bit reader can read whole, by its two high halves.
#[repr(C)]
struct SystemTime {
    low: AtomicU32,
    high1: AtomicU32,
    high2: AtomicU32,
}

impl SystemTime {
    const fn new() -> Self {
        Self { low: AtomicU32::new(0), high1: AtomicU32::new(0), high2: AtomicU32::new(0) }
    }

    fn set(&self, time: u64) {
        let high = (time >> 32) as u32;
        self.high2.store(high, Ordering::Release);
        // The 64-bit readers of x64 read low and first high half at once, so these two must change at once too.
        let pair = (&raw const self.low).cast_mut().cast::<u64>();
        if pair.is_aligned() {
            // SAFETY: eight bytes of this structure, aligned.
            unsafe { AtomicU64::from_ptr(pair) }.store(time, Ordering::Release);
        } else {
            self.low.store(time as u32, Ordering::Release);
            self.high1.store(high, Ordering::Release);
        }
    }
}

/// The start of `KUSER_SHARED_DATA`, as far as drivers read it inline.
#[repr(C)]
struct SharedData {
    tick_count_low: u32,
    tick_count_multiplier: u32,
    interrupt_time: SystemTime,
    system_time: SystemTime,
    time_zone_bias: SystemTime,
    reserved0: [u8; 0x30 - 0x2c],
    system_root: [u16; 260],
    reserved1: [u8; 0x260 - 0x238],
    build_number: u32,
    reserved2: [u8; 8],
    major_version: u32,
    minor_version: u32,
    reserved3: [u8; 0x320 - 0x274],
    tick_count: SystemTime,
}

const _: () = {
    assert!(core::mem::offset_of!(SharedData, interrupt_time) == 0x8);
    assert!(core::mem::offset_of!(SharedData, system_time) == 0x14);
    assert!(core::mem::offset_of!(SharedData, build_number) == 0x260);
    assert!(core::mem::offset_of!(SharedData, major_version) == 0x26c);
    assert!(core::mem::offset_of!(SharedData, tick_count) == 0x320);
};

/// Where the DDI headers compile the page's address into drivers.
const SHARED_DATA: usize = 0xffff_f780_0000_0000;
/// Milliseconds in a tick, as a fixed-point number with 24 bits of fraction.
const TICK_COUNT_MULTIPLIER: u32 = ((TICK << 24) / 10_000) as u32;

static PAGE: AtomicPtr<SharedData> = AtomicPtr::new(core::ptr::null_mut());

/// `KeTickCount`, for drivers that import it as data.
pub(crate) static TICK_COUNT: TickCount = TickCount(SystemTime::new());

/// See [`TICK_COUNT`].
#[repr(C, align(8))]
pub(crate) struct TickCount(SystemTime);

/// What this kernel says that it is: the version of Windows whose interface it follows.
pub(crate) const VERSION: (u32, u32, u32) = (10, 0, 19045);

/// Fills the shared page in, where the machine has one.
pub(crate) fn start() {
    let page = core::ptr::with_exposed_provenance_mut::<SharedData>(SHARED_DATA);
    if hal().is_mapped(page.cast(), crate::hal::PAGE_SIZE, true) {
        // SAFETY: the page is mapped for this purpose, and nobody reads it before drivers are loaded.
        unsafe {
            (*page).tick_count_multiplier = TICK_COUNT_MULTIPLIER;
            let root = &mut (*page).system_root;
            for (unit, letter) in root.iter_mut().zip("C:\\Windows".encode_utf16()) {
                *unit = letter;
            }
            ((*page).major_version, (*page).minor_version, (*page).build_number) = VERSION;
        }
        PAGE.store(page, Ordering::Release);
    }
    update_shared_page(hal().uptime());
}

/// Brings the times that drivers read without a call up to date.
pub(crate) fn update_shared_page(now: u64) {
    TICK_COUNT.0.set(now / TICK);
    let page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        return;
    }
    // SAFETY: the page stays mapped; the times in it are atomic.
    let (interrupt, system, ticks) = unsafe { (&(*page).interrupt_time, &(*page).system_time, &(*page).tick_count) };
    interrupt.set(now);
    system.set(now + hal().boot_time());
    ticks.set(now / TICK);
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQueryTimeIncrement() -> u32 {
    TICK as u32
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQueryPerformanceCounter(PerformanceFrequency: *mut i64) -> i64 {
    let (counter, frequency) = hal().performance_counter();
    if !PerformanceFrequency.is_null() {
        // SAFETY: the caller's promise: null or a place for a frequency.
        unsafe { PerformanceFrequency.write(frequency as i64) };
    }
    counter as i64
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQuerySystemTimePrecise(CurrentTime: *mut i64) {
    // SAFETY: the caller's promise: a place for a time.
    unsafe { CurrentTime.write(system_time()) };
}

/// Exported as `KeQuerySystemTime`, which the DDI headers make an inline function on x64.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQuerySystemTime(CurrentTime: *mut i64) {
    // SAFETY: the caller's promise: a place for a time.
    unsafe { CurrentTime.write(system_time()) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQueryTickCount(CurrentCount: *mut i64) {
    // SAFETY: the caller's promise: a place for a count.
    unsafe { CurrentCount.write((uptime() / TICK) as i64) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQueryInterruptTime() -> u64 {
    uptime()
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQueryInterruptTimePrecise(QpcTimeStamp: *mut u64) -> u64 {
    // SAFETY: the caller's promise: a place for a counter.
    unsafe { QpcTimeStamp.write(hal().performance_counter().0) };
    uptime()
}

/// Time that the system has slept, in units of 100 ns.
static SLEPT: AtomicU64 = AtomicU64::new(0);

/// The system has slept for so long.
pub(crate) fn slept(time: u64) {
    SLEPT.fetch_add(time, Ordering::Relaxed);
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQueryUnbiasedInterruptTime() -> u64 {
    uptime() - SLEPT.load(Ordering::Relaxed)
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeStallExecutionProcessor(MicroSeconds: u32) {
    let end = uptime() + u64::from(MicroSeconds) * UNITS_PER_MICROSECOND;
    while uptime() < end {
        hal().relax();
    }
}

/// The guest's local time is UTC.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExSystemTimeToLocalTime(SystemTime: *mut i64, LocalTime: *mut i64) {
    // SAFETY: the caller's promise: a time and a place for one.
    unsafe { LocalTime.write(SystemTime.read()) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExLocalTimeToSystemTime(LocalTime: *mut i64, SystemTime: *mut i64) {
    // SAFETY: the caller's promise: a time and a place for one.
    unsafe { SystemTime.write(LocalTime.read()) };
}

/// The clock is exact without being asked; the resolution reported is the nominal one.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExSetTimerResolution(_DesiredTime: u32, _SetResolution: BOOLEAN) -> u32 {
    TICK as u32
}

/// Year, month and day of a day counted from 1601-01-01.
fn date_of(day: i64) -> (i64, i64, i64) {
    // Counted from a March 1st, so that the leap day is a year's last: era of 400 years, year, month.
    const DAYS_FROM_1600_MARCH: i64 = 306;
    const DAYS_OF_ERA: i64 = 146_097;
    let days = day + DAYS_FROM_1600_MARCH;
    let (era, day_of_era) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = 1600 + era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_month)
}

/// Day counted from 1601-01-01 of a date.
fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = year - i64::from(month <= 2);
    let (era, year_of_era) = ((shifted_year - 1600).div_euclid(400), (shifted_year - 1600).rem_euclid(400));
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 306
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlTimeToTimeFields(Time: *mut i64, TimeFields: *mut TIME_FIELDS) {
    // SAFETY: the caller's promise: a time and a place for fields.
    let time = unsafe { Time.read() };
    let (day, rest) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    let (year, month, date) = date_of(day);
    let fields = TIME_FIELDS {
        Year: year as i16,
        Month: month as i16,
        Day: date as i16,
        Hour: (rest / (3600 * SECOND)) as i16,
        Minute: (rest / (60 * SECOND) % 60) as i16,
        Second: (rest / SECOND % 60) as i16,
        Milliseconds: (rest / 10_000 % 1000) as i16,
        // 1601-01-01 was a Monday; Sunday is 0.
        Weekday: (day + 1).rem_euclid(7) as i16,
    };
    // SAFETY: as above.
    unsafe { TimeFields.write(fields) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlTimeFieldsToTime(TimeFields: *mut TIME_FIELDS, Time: *mut i64) -> BOOLEAN {
    // SAFETY: the caller's promise: fields and a place for a time.
    let fields = unsafe { TimeFields.read() };
    let in_range = (1601..=30827).contains(&fields.Year)
        && (1..=12).contains(&fields.Month)
        && (1..=31).contains(&fields.Day)
        && (0..24).contains(&fields.Hour)
        && (0..60).contains(&fields.Minute)
        && (0..60).contains(&fields.Second)
        && (0..1000).contains(&fields.Milliseconds);
    if !in_range {
        return FALSE;
    }
    let day = day_of(fields.Year.into(), fields.Month.into(), fields.Day.into());
    if date_of(day) != (fields.Year.into(), fields.Month.into(), fields.Day.into()) {
        return FALSE;
    }
    let seconds = (i64::from(fields.Hour) * 60 + i64::from(fields.Minute)) * 60 + i64::from(fields.Second);
    // SAFETY: as above.
    unsafe { Time.write(day * DAY + seconds * SECOND + i64::from(fields.Milliseconds) * 10_000) };
    TRUE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(time: i64) -> (i16, i16, i16, i16, i16, i16, i16, i16) {
        let (mut time, mut fields) = (time, TIME_FIELDS::zeroed());
        // SAFETY: both are valid places.
        unsafe { RtlTimeToTimeFields(&mut time, &mut fields) };
        let f = fields;
        (f.Year, f.Month, f.Day, f.Hour, f.Minute, f.Second, f.Milliseconds, f.Weekday)
    }

    #[test]
    fn known_times_have_their_well_known_dates() {
        assert_eq!(fields(0), (1601, 1, 1, 0, 0, 0, 0, 1));
        // The first second of 1970.
        assert_eq!(fields(116_444_736_000_000_000), (1970, 1, 1, 0, 0, 0, 0, 4));
        // 2000-02-29 23:59:59.999
        assert_eq!(fields(125_963_423_999_990_000), (2000, 2, 29, 23, 59, 59, 999, 2));
    }

    #[test]
    fn every_day_of_eight_centuries_goes_to_fields_and_back() {
        for day in 0..800 * 365 {
            let (year, month, date) = date_of(day);
            assert_eq!(day_of(year, month, date), day, "{year}-{month}-{date}");
        }
    }

    #[test]
    fn a_date_that_does_not_exist_is_no_time() {
        let mut fields = TIME_FIELDS { Year: 2023, Month: 2, Day: 29, ..TIME_FIELDS::zeroed() };
        let mut time = 0;
        // SAFETY: both are valid places.
        assert_eq!(unsafe { RtlTimeFieldsToTime(&mut fields, &mut time) }, FALSE);
    }
}
