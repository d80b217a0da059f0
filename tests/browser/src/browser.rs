//! A headless browser process with a temporary profile.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;

use crate::devtools::DevTools;
use crate::{Look, Tab, find};

/// How long a browser may take to start.
const START: Duration = Duration::from_secs(60);

/// A browser. Dropping it ends the process and deletes the profile.
pub struct Browser {
    devtools: Rc<DevTools>,
    process: Child,
    /// Name and version as the browser reports them.
    name: String,
    // Dropped after the process, which uses it until it ends.
    _profile: TempDir,
}

impl Browser {
    /// Starts the browser that [`find`](find()) returns.
    ///
    /// # Errors
    /// There is no browser, or it does not start; the error contains its output.
    pub fn start() -> Result<Self> {
        let program = find()?;
        let profile = tempfile::Builder::new().prefix("wgpu-adam-browser").tempdir()?;
        let log = profile.path().join("log.txt");
        let mut command = Command::new(&program);
        command.args(FLAGS).arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut process = command.spawn().with_context(|| format!("could not start {}", program.display()))?;
        let devtools = match connect(&mut process, profile.path()) {
            Ok(devtools) => Rc::new(devtools),
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(error.context(format!("{} did not start:\n{said}", program.display())));
            }
        };
        let version = devtools.call(None, "Browser.getVersion", &json!({}), START)?;
        let name = find::version(&program)
            .unwrap_or_else(|| version["product"].as_str().unwrap_or("a Chromium without a name").to_owned());
        Ok(Self { devtools, process, name, _profile: profile })
    }

    /// The browser's name and version.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets pages download files from now on, into this folder and under the names that the pages choose.
    pub fn download_to(&self, folder: &Path) -> Result<()> {
        let behavior = json!({ "behavior": "allow", "downloadPath": folder });
        self.devtools.call(None, "Browser.setDownloadBehavior", &behavior, START)?;
        Ok(())
    }

    /// Opens a page in a new tab and waits until it is loaded.
    ///
    /// Console messages are collected from the page's first line on.
    ///
    /// # Errors
    /// The address cannot be reached.
    pub fn open(&self, url: &str, look: Look) -> Result<Tab> {
        self.open_with(url, look, "")
    }

    /// Like [`open`](Self::open), with a script that runs before the scripts of this page and of every page that the
    /// tab navigates to. The script can change what pages find in their browser.
    pub fn open_with(&self, url: &str, look: Look, script: &str) -> Result<Tab> {
        let tab = Tab::new(self.devtools.clone(), look)?;
        tab.call("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }))?;
        tab.navigate(url)?;
        Ok(tab)
    }
}

/// WebGPU on the software adapter requires `--enable-unsafe-webgpu`. The sandbox requires rights that containers and
/// root do not have, and the pages are our own. `/dev/shm` is small in containers.
const FLAGS: [&str; 10] = [
    "--headless=new",
    "--enable-unsafe-webgpu",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-port=0",
];

/// The browser writes the chosen port and the path into a file of the profile.
fn connect(process: &mut Child, profile: &Path) -> Result<DevTools> {
    let file = profile.join("DevToolsActivePort");
    let deadline = Instant::now() + START;
    loop {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if let Some((port, path)) = text.split_once('\n') {
            return DevTools::connect(port.trim().parse()?, path.trim());
        }
        if let Some(status) = process.try_wait()? {
            bail!("it ended at once: {status}");
        }
        if Instant::now() > deadline {
            bail!("it opened no port within {} s", START.as_secs());
        }
        sleep(Duration::from_millis(20));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.devtools.call(None, "Browser.close", &json!({}), Duration::from_secs(2));
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.process.kill();
                let _ = self.process.wait();
            }
            sleep(Duration::from_millis(20));
        }
    }
}
