//! Arithmetic of time: counters to units of 100 ns and back, and calendar dates to system time.

/// Units of 100 ns in a second.
pub const UNITS_PER_SECOND: u64 = 10_000_000;
/// Frequency of the ACPI power-management timer.
pub const PM_TIMER_HZ: u64 = 3_579_545;

/// A counter's rate, ready for multiplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    hertz: u64,
    units_per_tick: u64,
    ticks_per_unit: u64,
}

/// Fraction bits of both factors.
const FRACTION: u32 = 40;

impl Rate {
    /// A counter of `hertz`, from 1 kHz to 1 THz.
    pub fn new(hertz: u64) -> Rate {
        let hertz = hertz.clamp(1_000, 1_000_000_000_000);
        let divide = |dividend: u64, divisor: u64| ((u128::from(dividend) << FRACTION) / u128::from(divisor)) as u64;
        Rate { hertz, units_per_tick: divide(UNITS_PER_SECOND, hertz), ticks_per_unit: divide(hertz, UNITS_PER_SECOND) }
    }

    /// Ticks in a second.
    pub fn hertz(self) -> u64 {
        self.hertz
    }

    /// Units of 100 ns in `ticks`, rounded down.
    pub fn units(self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.units_per_tick)) >> FRACTION) as u64
    }

    /// Ticks after which `units` of 100 ns have passed, rounded up.
    pub fn ticks(self, units: u64) -> u64 {
        let ticks = ((u128::from(units) + 1) * u128::from(self.ticks_per_unit)) >> FRACTION;
        u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// A date and time of the Gregorian calendar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the calendar")]
pub struct Date {
    pub year: u32,
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
}

/// System time of a date: units of 100 ns since 1601. Dates that do not exist give 0.
pub fn system_time(date: Date) -> u64 {
    let leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if date.year < 1601 || date.year > 9999 || !(1..=12).contains(&date.month) || !(1..=31).contains(&date.day) {
        return 0;
    }
    let past = u64::from(date.year - 1601);
    let mut days = past * 365 + past / 4 - past / 100 + past / 400;
    const MONTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += MONTHS[..date.month as usize - 1].iter().sum::<u64>();
    days += u64::from(date.month > 2 && leap(date.year)) + u64::from(date.day) - 1;
    let seconds = (days * 24 + u64::from(date.hour)) * 60 + u64::from(date.minute);
    (seconds * 60 + u64::from(date.second)) * UNITS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unix_epoch_has_its_well_known_system_time() {
        let epoch = Date { year: 1970, month: 1, day: 1, ..Date::default() };

        assert_eq!(system_time(epoch), 116_444_736_000_000_000);
    }

    #[test]
    fn the_day_after_a_leap_day_is_counted() {
        let before = Date { year: 2024, month: 2, day: 28, hour: 23, minute: 59, second: 59 };
        let after = Date { year: 2024, month: 3, day: 1, ..Date::default() };

        assert_eq!(system_time(after) - system_time(before), (86_400 + 1) * UNITS_PER_SECOND);
    }

    #[test]
    fn a_date_that_does_not_exist_is_no_time() {
        assert_eq!(system_time(Date { year: 2024, month: 13, day: 1, ..Date::default() }), 0);
        assert_eq!(system_time(Date::default()), 0);
    }

    #[test]
    fn a_rate_converts_both_ways_to_a_part_in_a_thousand_million() {
        for hertz in [1_000_000_000, 2_399_999_999, 3_579_545, 24_000_000] {
            let rate = Rate::new(hertz);
            for units in [0, 1, 7, 10_000, UNITS_PER_SECOND, 3600 * UNITS_PER_SECOND] {
                let back = rate.units(rate.ticks(units));
                let slack = 3 + units / 1_000_000_000;
                assert!(back + slack >= units && back <= units + slack + 10_000_000 / hertz, "{hertz} Hz, {units}: {back}");
            }
        }
    }

    #[test]
    fn a_far_deadline_saturates() {
        assert_eq!(Rate::new(3_000_000_000).ticks(u64::MAX), u64::MAX);
    }
}
