//! A page in a browser: reads it, evaluates scripts in it, waits for it.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::devtools::DevTools;
use crate::messages::exception;
use crate::{Kind, Look, Message, Scheme};

/// For commands that take no time themselves but may wait for a busy page.
const SOON: Duration = Duration::from_secs(60);

/// A tab of a [`Browser`](crate::Browser). Dropping it closes it.
pub struct Tab {
    devtools: Rc<DevTools>,
    target: String,
    session: String,
    messages: RefCell<Vec<Message>>,
    timeout: Cell<Duration>,
}

impl Tab {
    pub(crate) fn new(devtools: Rc<DevTools>, look: Look) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned).context("an id");
        let target = devtools.call(None, "Target.createTarget", &json!({ "url": "about:blank" }), SOON)?;
        let target = text(&target["targetId"])?;
        let attach = json!({ "targetId": target, "flatten": true });
        let session = text(&devtools.call(None, "Target.attachToTarget", &attach, SOON)?["sessionId"])?;
        let tab = Self { devtools, target, session, messages: RefCell::default(), timeout: Cell::new(SOON) };
        for domain in ["Page", "Runtime", "Log"] {
            tab.call(&format!("{domain}.enable"), &json!({}))?;
        }
        tab.set_look(look)?;
        Ok(tab)
    }

    /// Sets how long an [`eval`](Self::eval) may take from now on; a minute by default.
    pub fn set_timeout(&self, timeout: Duration) {
        self.timeout.set(timeout);
    }

    /// Navigates to another address and waits until the page, its modules and its pictures are loaded.
    ///
    /// # Errors
    /// The address cannot be reached, or loading takes more than a minute.
    pub fn navigate(&self, url: &str) -> Result<()> {
        self.leave()?;
        let answer = self.call("Page.navigate", &json!({ "url": url }))?;
        if let Some(error) = answer["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        self.arrive().with_context(|| format!("loading {url}"))
    }

    /// Reloads the page.
    pub fn reload(&self) -> Result<()> {
        self.leave()?;
        self.call("Page.reload", &json!({}))?;
        self.arrive().context("reloading")
    }

    /// Marks the page, because it answers until the next page replaces it.
    fn leave(&self) -> Result<()> {
        self.eval::<Value>("void (window.isOldPage = true)").map(drop)
    }

    /// Waits for a page without the mark.
    fn arrive(&self) -> Result<()> {
        self.wait_for("!window.isOldPage && document.readyState === 'complete'", SOON)
    }

    /// The value of a JavaScript expression, awaited if it is a promise. Values that JSON cannot express become null,
    /// and a typed array becomes an object: write `Array.from(...)`.
    ///
    /// # Errors
    /// The expression throws or rejects, takes longer than the timeout, or its value is not a `T`.
    pub fn eval<T: DeserializeOwned>(&self, expression: &str) -> Result<T> {
        let params = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let mut answer = self.call("Runtime.evaluate", &params)?;
        if let Some(details) = answer.get("exceptionDetails") {
            bail!("`{expression}`: {}", exception(details));
        }
        serde_json::from_value(answer["result"]["value"].take()).with_context(|| format!("the value of `{expression}`"))
    }

    /// The WebGPU adapter's name, as far as the browser reveals it; `None` if there is no adapter.
    pub fn adapter(&self) -> Result<Option<String>> {
        self.eval(
            "(async () => {
                const adapter = await navigator.gpu?.requestAdapter();
                const { vendor, architecture, device, description } = adapter?.info ?? {};
                return adapter && ['WebGPU', vendor, architecture, device, description].filter(Boolean).join(' ');
            })()",
        )
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// It throws, or does not become true in time; the error contains the last console messages and the page's state
    /// (`document.body.dataset`).
    pub fn wait_for(&self, expression: &str, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            // A page that is being replaced does not answer; the next attempt finds the new page.
            let truth = self.eval::<bool>(&format!("Boolean({expression})"));
            if matches!(truth, Ok(true)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                truth?;
                let state: Value = self.eval("document.body ? {...document.body.dataset} : null")?;
                let last: Vec<String> = self.messages().iter().rev().take(5).map(ToString::to_string).collect();
                let seconds = within.as_secs_f32();
                bail!("not so within {seconds} s: {expression}\nstate: {state}\nconsole: {}", last.join("\n"));
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Changes the window size or color scheme of the open page.
    pub fn set_look(&self, look: Look) -> Result<()> {
        let Look { width, height, scheme, phone } = look;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.call("Emulation.setDeviceMetricsOverride", &metrics)?;
        self.call("Emulation.setTouchEmulationEnabled", &json!({ "enabled": phone }))?;
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.call("Emulation.setEmulatedMedia", &features)?;
        Ok(())
    }

    /// Brings the tab in front of all others of its browser, which become hidden (`document.visibilityState`).
    pub fn bring_to_front(&self) -> Result<()> {
        self.call("Page.bringToFront", &json!({}))?;
        Ok(())
    }

    /// Limits the storage of the address' pages to this many bytes, all together.
    pub fn set_quota(&self, url: &str, bytes: u64) -> Result<()> {
        self.call("Storage.overrideQuotaForOrigin", &json!({ "origin": url, "quotaSize": bytes }))?;
        Ok(())
    }

    /// Saves a PNG of the whole page, not only of the part in the window. Creates folders as needed.
    pub fn screenshot(&self, file: impl AsRef<Path>) -> Result<()> {
        let file = file.as_ref();
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.call("Page.captureScreenshot", &params)?;
        let bytes = BASE64.decode(answer["data"].as_str().unwrap_or_default().as_bytes())?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
    }

    /// All console messages so far, in order.
    pub fn messages(&self) -> Vec<Message> {
        // A round trip, so that all earlier messages have arrived. A page that hangs adds none.
        let _ = self.call("Runtime.evaluate", &json!({ "expression": "0" }));
        self.messages.borrow().clone()
    }

    /// Forgets the console messages, after an error that a test provoked.
    pub fn forget_messages(&self) {
        let _ = self.messages();
        self.messages.borrow_mut().clear();
    }

    /// Fails if there was any `console.error`, uncaught WebGPU error, exception or rejection so far.
    pub fn check_clean(&self) -> Result<()> {
        let bad: Vec<String> =
            self.messages().iter().filter(|message| message.kind >= Kind::Error).map(ToString::to_string).collect();
        if !bad.is_empty() {
            bail!("the page reported {} errors:\n{}", bad.len(), bad.join("\n"));
        }
        Ok(())
    }

    /// Sends a command to this tab.
    pub(crate) fn call(&self, method: &str, params: &Value) -> Result<Value> {
        let answer = self.devtools.call(Some(&self.session), method, params, self.timeout.get());
        for event in self.devtools.take_events(&self.session) {
            self.messages.borrow_mut().extend(Message::of(&event.method, &event.params));
        }
        answer
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let close = json!({ "targetId": self.target });
        let _ = self.devtools.call(None, "Target.closeTarget", &close, Duration::from_secs(5));
    }
}
