//! The DevTools protocol: commands, their answers, and events.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tungstenite::{Error, Message, WebSocket, protocol::WebSocketConfig};

/// How long a read may block before the deadline is checked.
const TICK: Duration = Duration::from_millis(50);

/// A connection to a browser, shared by all its tabs.
pub(crate) struct DevTools {
    socket: RefCell<WebSocket<TcpStream>>,
    last_id: Cell<u64>,
    /// Events that nobody has taken yet, by session.
    events: RefCell<BTreeMap<String, Vec<Event>>>,
}

/// Something that happened in a tab.
pub(crate) struct Event {
    pub method: String,
    pub params: Value,
}

impl DevTools {
    pub fn connect(port: u16, path: &str) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("connecting to the browser")?;
        stream.set_nodelay(true)?;
        let address = format!("ws://127.0.0.1:{port}{path}");
        // Screenshots and long lists come as one message.
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let (socket, _) = tungstenite::client::client_with_config(&address, stream, Some(config))
            .map_err(|error| anyhow!("the browser refuses {address}: {error}"))?;
        socket.get_ref().set_read_timeout(Some(TICK))?;
        Ok(Self { socket: RefCell::new(socket), last_id: Cell::new(0), events: RefCell::default() })
    }

    /// Sends a command to the browser itself or to the session of one of its tabs, and waits for the answer.
    pub fn call(&self, session: Option<&str>, method: &str, params: &Value, within: Duration) -> Result<Value> {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        self.socket
            .borrow_mut()
            .send(Message::text(command.to_string()))
            .with_context(|| format!("sending {method}"))?;
        let deadline = Instant::now() + within;
        loop {
            let Some(mut message) = self.receive().with_context(|| format!("waiting for {method}"))? else {
                if Instant::now() > deadline {
                    bail!("no answer to {method} within {} s", within.as_secs_f32());
                }
                continue;
            };
            // Late answers, to commands that timed out, are dropped here.
            if message["id"] == id {
                if let Some(error) = message.get("error") {
                    bail!("{method}: {}", error["message"].as_str().unwrap_or("refused"));
                }
                return Ok(message["result"].take());
            }
        }
    }

    /// The session's events that arrived since the last call.
    pub fn take_events(&self, session: &str) -> Vec<Event> {
        self.events.borrow_mut().remove(session).unwrap_or_default()
    }

    /// The next message, or `None` if none arrives within a tick. Events are stored as well as returned.
    fn receive(&self) -> Result<Option<Value>> {
        let message = match self.socket.borrow_mut().read() {
            Ok(Message::Text(text)) => serde_json::from_str::<Value>(&text)?,
            Ok(_) => return Ok(None),
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(anyhow!("the browser is gone: {error}")),
        };
        if let (Some(method), Some(session)) = (message["method"].as_str(), message["sessionId"].as_str()) {
            let event = Event { method: method.to_owned(), params: message["params"].clone() };
            self.events.borrow_mut().entry(session.to_owned()).or_default().push(event);
        }
        Ok(Some(message))
    }
}
