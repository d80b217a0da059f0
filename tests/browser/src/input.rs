//! Input as from a mouse, a finger or a keyboard: trusted events.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Tab;

/// A place in the window, in CSS pixels.
type Point = (f64, f64);

/// Keys with a name, their code number, and the text that they type.
const NAMED: [(&str, &str, u32, &str); 10] = [
    ("Tab", "Tab", 9, ""),
    ("Enter", "Enter", 13, "\r"),
    ("Escape", "Escape", 27, ""),
    (" ", "Space", 32, " "),
    ("End", "End", 35, ""),
    ("Home", "Home", 36, ""),
    ("ArrowLeft", "ArrowLeft", 37, ""),
    ("ArrowUp", "ArrowUp", 38, ""),
    ("ArrowRight", "ArrowRight", 39, ""),
    ("ArrowDown", "ArrowDown", 40, ""),
];

impl Tab {
    /// Scrolls the first element that matches the selector into the window and returns its left, top, width and height.
    pub fn place_of(&self, selector: &str) -> Result<[f64; 4]> {
        let selector = Value::from(selector);
        self.eval::<Option<[f64; 4]>>(&format!(
            "(() => {{
                const element = document.querySelector({selector});
                if (!element) return null;
                element.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                const {{ x, y, width, height }} = element.getBoundingClientRect();
                return [x, y, width, height];
            }})()"
        ))?
        .with_context(|| format!("the page has no {selector}"))
    }

    /// Clicks the middle of an element with the mouse.
    pub fn click(&self, selector: &str) -> Result<()> {
        let [x, y, width, height] = self.place_of(selector)?;
        self.drag(&[(x + width / 2.0, y + height / 2.0)])
    }

    /// Presses the mouse button at the first point, moves over the others and releases it at the last.
    pub fn drag(&self, points: &[Point]) -> Result<()> {
        let event = |kind: &str, (x, y): Point, buttons: u32| {
            let button = if kind == "mouseMoved" && buttons == 0 { "none" } else { "left" };
            let event = json!({ "type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", &event)
        };
        let (first, last) = ends(points)?;
        event("mouseMoved", first, 0)?;
        event("mousePressed", first, 1)?;
        for &point in &points[1..] {
            event("mouseMoved", point, 1)?;
        }
        event("mouseReleased", last, 0)?;
        Ok(())
    }

    /// Puts a finger down at the first point, moves it over the others and lifts it. Requires a look with `phone`.
    pub fn swipe(&self, points: &[Point]) -> Result<()> {
        let event = |kind: &str, points: &[Point]| {
            let points: Vec<Value> = points.iter().map(|(x, y)| json!({ "x": x, "y": y })).collect();
            self.call("Input.dispatchTouchEvent", &json!({ "type": kind, "touchPoints": points }))
        };
        let (first, _) = ends(points)?;
        event("touchStart", &[first])?;
        for &point in &points[1..] {
            event("touchMove", &[point])?;
        }
        event("touchEnd", &[])?;
        Ok(())
    }

    /// Chooses a file in an `<input type="file">`, as its dialog would.
    pub fn choose_file(&self, selector: &str, file: &Path) -> Result<()> {
        let document = self.call("DOM.getDocument", &json!({ "depth": 0 }))?;
        let query = json!({ "nodeId": document["root"]["nodeId"], "selector": selector });
        let node = &self.call("DOM.querySelector", &query)?["nodeId"];
        self.call("DOM.setFileInputFiles", &json!({ "nodeId": node, "files": [file] }))?;
        Ok(())
    }

    /// Presses and releases a key: `Tab`, `Enter`, `Escape`, ` `, `Home`, `End`, an arrow such as `ArrowUp`, or a
    /// character. With `shift`, Shift is held down meanwhile.
    pub fn press(&self, key: &str, shift: bool) -> Result<()> {
        let named = NAMED.iter().find(|(name, ..)| *name == key);
        let (code, number, text) = named.map_or(("", 0, key), |&(_, code, number, text)| (code, number, text));
        let modifiers = if shift { 8 } else { 0 };
        let event = |kind: &str, text: &str| {
            let event = json!({
                "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number, "text": text,
                "modifiers": modifiers,
            });
            self.call("Input.dispatchKeyEvent", &event)
        };
        event(if text.is_empty() { "rawKeyDown" } else { "keyDown" }, text)?;
        event("keyUp", "")?;
        Ok(())
    }

    /// Selects the content of the input field, types the text over it, then leaves the field as Tab does.
    pub fn fill(&self, selector: &str, text: &str) -> Result<()> {
        self.click(selector)?;
        self.eval::<Value>("void document.activeElement.select()")?;
        self.call("Input.insertText", &json!({ "text": text }))?;
        self.press("Tab", false)
    }
}

fn ends(points: &[Point]) -> Result<(Point, Point)> {
    Ok((*points.first().context("no points")?, *points.last().context("no points")?))
}
