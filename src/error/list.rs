//! Numbers and names in the texts of errors.

/// Formats a number as people write it: `65`, `0.1`, `1e300`.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { value.to_string() } else { format!("{value:?}") }
}

pub(super) fn of_group(group: Option<usize>) -> String {
    group.map_or_else(String::new, |group| format!(" of group {group}"))
}

/// Prints a number of things: `1 element`, `2 elements`.
pub(super) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Prints a number of things in the past tense: `1 step was`, `2 steps were`.
pub(super) fn were(number: u64, thing: &str) -> String {
    format!("{} {}", count(number, thing), if number == 1 { "was" } else { "were" })
}

pub(super) fn out_of(length: Option<u64>) -> String {
    length.map_or_else(
        || "; a range ends where it begins, or later".into(),
        |length| format!(": it has {}", count(length, "element")),
    )
}

/// Prints the names that are most like one that does not exist.
pub(super) fn nearest(names: &[String]) -> String {
    if names.is_empty() { "; it has none at all".into() } else { format!("; the nearest are {}", some_of(names)) }
}

/// Prints the first names of a list, and how many more there are.
pub(super) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("\"{name}\"")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 if shown.is_empty() => "none".into(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
