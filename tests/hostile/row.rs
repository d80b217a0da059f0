//! A row of the tables.

/// What is wrong, the change that makes a good file so, the pattern of the error, a part of its message.
macro_rules! row {
    ($name:expr, $change:expr, $kind:pat, $text:expr $(,)?) => {
        ($name, $change, |error| matches!(error, $kind), stringify!($kind), $text)
    };
}
