//! What a visitor sees first: a classified digit, an order that suits the screen, named axes, links that lead somewhere.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};
use wgpu_adam_browser::Look;

use crate::{Site, shoot};

pub fn test_digit(site: &Site) -> Result<()> {
    let page = site.ready("?epochs=2&pace=full")?;
    page.until("document.body.dataset.digit !== '' && document.body.dataset.looked === 'true'")?;
    ensure!(page.number("step")? == 0.0, "it was classified after step {}", page.number("step")?);
    ensure!(page.text("invitation")? == "Test digit: 3 · draw here", "{:?}", page.text("invitation")?);
    page.shows("verdict", ".startsWith('Before training, the network guesses a')")?;
    // It is classified again as the model learns.
    page.click("start")?;
    page.state("done")?;
    page.shows("verdict", "=== 'Looks like a 3.'")?;

    // The first stroke replaces it.
    let [left, top, width, height] = page.tab.place_of("#pad")?;
    let stroke = [0.2, 0.5, 0.8].map(|y| (left + 0.5 * width, top + y * height));
    page.tab.drag(&stroke)?;
    let is = |class: &str| page.tab.eval::<bool>(&format!("document.querySelector('.paper').matches('.{class}')"));
    ensure!(is("drawn")? && !is("sampled")?, "the test digit stays");
    page.shows("verdict", "=== 'Looks like a 1.'")?;
    page.click("clear")?;
    page.until("document.body.dataset.digit === ''")?;
    ensure!(page.text("invitation")? == "Draw here" && !is("drawn")?, "{:?}", page.text("invitation")?);
    shoot(&page, "empty-pad")?;

    // A resumed run shows one too.
    page.tab.navigate(&site.address("?resume=1"))?;
    page.state("done")?;
    page.shows("verdict", "=== 'Looks like a 3.'")?;
    page.check()
}

pub fn order(site: &Site) -> Result<()> {
    // In one column, and in two, the second of which can be narrow.
    for (look, order) in [
        (Look::NARROW, ["run", "draw", "options", "files", "layer"]),
        (Look::WIDE, ["run", "options", "files", "draw", "layer"]),
        (Look { width: 980, ..Look::WIDE }, ["run", "options", "files", "draw", "layer"]),
    ] {
        let page = site.open_as("?epochs=1", "", look)?;
        page.state("ready")?;
        let seen: Vec<String> = page.tab.eval(
            "[...document.querySelectorAll('.card')].map(card => [card.getBoundingClientRect(), card.classList[1]])
                .sort(([a], [b]) => a.top - b.top || a.left - b.left).map(([, name]) => name)",
        )?;
        ensure!(seen == order, "{look:?}: {seen:?}");
        let wide: bool = page.tab.eval("document.documentElement.scrollWidth > innerWidth")?;
        ensure!(!wide, "{look:?}: the page is wider than the screen");
        let cut: Vec<String> = page.tab.eval(
            "[...document.querySelectorAll('.card, .card button')].filter(box => box.scrollWidth > box.clientWidth)
                .map(box => box.id || box.className)",
        )?;
        ensure!(cut.is_empty(), "{look:?}: the contents of {cut:?} are cut off");
        page.check()?;
    }
    Ok(())
}

pub fn axes(site: &Site) -> Result<()> {
    let record = "window.written = [];
        const { fillText } = CanvasRenderingContext2D.prototype;
        CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
            const { x, width } = { x: place[0], width: this.measureText(text).width };
            const left = x - { left: 0, center: width / 2, right: width }[this.textAlign];
            if (left < 0 || left + width > this.canvas.clientWidth) window.cut = text;
            window.written.push(text);
            return fillText.call(this, text, ...place);
        };";
    for look in [Look::WIDE, Look::NARROW] {
        let page = site.open_as("?epochs=40", record, look)?;
        page.state("ready")?;
        page.until("window.written.includes('Epoch')")?;
        let written: BTreeSet<String> = page.tab.eval("window.written")?;
        for text in ["Epoch", "Loss (logarithmic scale)", "0", "40", "0.01"] {
            ensure!(written.contains(text), "{text:?} is not among {written:?}");
        }
        let cut: String = page.tab.eval("window.cut ?? ''")?;
        ensure!(cut.is_empty(), "{cut:?} is cut off");
        page.check()?;
    }
    Ok(())
}

pub fn links(site: &Site) -> Result<()> {
    let page = site.ready("?epochs=1")?;
    // The seen links to the project, after the page was given these addresses.
    let given = |addresses: &str| {
        page.tab.eval::<Vec<String>>(&format!(
            "import('./links.js').then(links => {{
                links.link({addresses});
                return [...document.querySelectorAll('[data-path], [data-reference]')]
                    .filter(link => link.checkVisibility()).map(link => link.href);
            }})"
        ))
    };
    let nowhere = given("{ repository: '', documentation: '' }")?;
    ensure!(nowhere.is_empty(), "without an address there are links to {nowhere:?}");
    let empty: bool = page.tab.eval("[...document.querySelectorAll('.links')].every(line => line.hidden)")?;
    ensure!(empty, "a line without links is shown");

    let reference = given("{ repository: '', documentation: 'https://docs.example/x' }")?;
    ensure!(reference == ["https://docs.example/x"], "{reference:?}");
    let all = given("{ repository: 'https://code.example/x', documentation: 'https://docs.example/x' }")?;
    ensure!(all.len() == 7 && all[0] == "https://code.example/x", "{all:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for path in all.iter().filter_map(|link| link.strip_prefix("https://code.example/x/blob/HEAD/")) {
        ensure!(root.join(path).exists(), "a link leads to {path}, which does not exist");
    }
    shoot(&page, "links")?;

    // The page itself takes the addresses of the manifest.
    page.tab.reload()?;
    page.state("ready")?;
    let shown: bool = page.tab.eval(
        "import('./addresses.js').then(({ repository, documentation }) =>
            [...document.querySelectorAll('.links')].some(line => !line.hidden) === Boolean(repository || documentation))",
    )?;
    ensure!(shown, "the links are not those of the manifest");
    page.check()
}
