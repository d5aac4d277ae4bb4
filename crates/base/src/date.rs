//! Calendar dates of Unix timestamps.

/// Returns year, month, day, hour, minute and second, UTC, of a Unix timestamp in seconds.
///
/// Hinnant, "chrono-compatible low-level date algorithms", 2013: years begin in March, so that leap
/// days come last.
pub fn utc(seconds: u64) -> [u64; 6] {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let of_era_year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_era_year + of_era_year / 4 - of_era_year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + of_era_year + u64::from(month <= 2);
    [year, month, day, rest / 3600, rest / 60 % 60, rest % 60]
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn timestamps_convert_to_dates() {
        let date = |days: u64| utc(86_400 * days)[..3].to_vec();
        assert_eq!(date(0), [1970, 1, 1]);
        assert_eq!(date(59), [1970, 3, 1]);
        // A leap day in a century year that has one.
        assert_eq!(date(11_016), [2000, 2, 29]);
        assert_eq!(date(20_778), [2026, 11, 21]);
        assert_eq!(utc(86_399)[3..], [23, 59, 59]);
    }
}
