//! A page's console messages, and errors that nothing else shows.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

/// How bad a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `console.log` and lower levels.
    Info,
    /// `console.warn`, and warnings of the browser.
    Warning,
    /// `console.error`, a failed request, an uncaught WebGPU error.
    Error,
    /// An uncaught exception or an unhandled rejection.
    Uncaught,
}

/// A line of the console.
#[derive(Clone, Debug)]
pub struct Message {
    pub kind: Kind,
    pub text: String,
    /// Address and line, if known.
    pub place: String,
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)?;
        if self.place.is_empty() { Ok(()) } else { write!(f, " ({})", self.place) }
    }
}

impl Message {
    /// The message of a DevTools event, or `None` if the event is not a message.
    pub(crate) fn of(method: &str, params: &Value) -> Option<Self> {
        match method {
            "Runtime.consoleAPICalled" => Some(Self::of_console(params)),
            "Log.entryAdded" => Some(Self::of_log(&params["entry"])),
            "Runtime.exceptionThrown" => Some(Self::of_exception(&params["exceptionDetails"])),
            _ => None,
        }
    }

    fn of_console(params: &Value) -> Self {
        let kind = match params["type"].as_str() {
            Some("error" | "assert") => Kind::Error,
            Some("warning") => Kind::Warning,
            _ => Kind::Info,
        };
        let words: Vec<String> = params["args"].as_array().into_iter().flatten().map(shown).collect();
        Self { kind, text: words.join(" "), place: place(&params["stackTrace"]["callFrames"][0]) }
    }

    fn of_log(entry: &Value) -> Self {
        let text = entry["text"].as_str().unwrap_or_default().to_owned();
        let kind = match (entry["level"].as_str(), entry["source"].as_str()) {
            (Some("error"), _) => Kind::Error,
            // Chromium reports WebGPU errors here if no error scope and no handler catches them.
            (Some("warning"), Some("rendering")) => Kind::Error,
            (Some("warning"), _) => Kind::Warning,
            _ => Kind::Info,
        };
        Self { kind, text, place: place(entry) }
    }

    fn of_exception(details: &Value) -> Self {
        Self { kind: Kind::Uncaught, text: exception(details), place: place(details) }
    }
}

/// An exception with its stack, as the console would show it.
pub(crate) fn exception(details: &Value) -> String {
    let text = details["text"].as_str().unwrap_or_default();
    let thrown = &details["exception"];
    if thrown.is_null() { text.to_owned() } else { format!("{text} {}", shown(thrown)) }
}

fn shown(object: &Value) -> String {
    match (&object["value"], object["description"].as_str()) {
        (Value::String(text), _) => text.clone(),
        (_, Some(description)) => description.to_owned(),
        (Value::Null, None) => object["type"].as_str().unwrap_or_default().to_owned(),
        (value, None) => value.to_string(),
    }
}

fn place(of: &Value) -> String {
    match (of["url"].as_str(), of["lineNumber"].as_u64()) {
        (Some(url), Some(line)) if !url.is_empty() => format!("{url}:{}", line + 1),
        (Some(url), _) => url.to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_become_messages() {
        let console = json!({
            "type": "error",
            "args": [{"type": "string", "value": "bad"}, {"type": "number", "value": 3, "description": "3"}],
            "stackTrace": {"callFrames": [{"url": "http://a/b.js", "lineNumber": 6}]},
        });
        let thrown = json!({"exceptionDetails": {
            "text": "Uncaught (in promise)", "exception": {"type": "object", "description": "Error: no\n at f"},
        }});
        let webgpu = json!({"entry": {"source": "rendering", "level": "warning", "text": "Buffer too small"}});
        let cases = [
            ("Runtime.consoleAPICalled", console, "Error: bad 3 (http://a/b.js:7)"),
            ("Runtime.exceptionThrown", thrown, "Uncaught: Uncaught (in promise) Error: no\n at f"),
            ("Log.entryAdded", webgpu, "Error: Buffer too small"),
        ];
        for (method, params, want) in cases {
            assert_eq!(Message::of(method, &params).unwrap().to_string(), want, "{method}");
        }
        assert!(Message::of("Page.loadEventFired", &json!({})).is_none());
    }
}
