//! A row of the tables.

/// What is wrong, how a good file is made so, the pattern of the error, a part of its message.
macro_rules! row {
    ($name:expr, $change:expr, $kind:pat, $text:expr $(,)?) => {
        ($name, $change, |error| matches!(error, $kind), stringify!($kind), $text)
    };
}
