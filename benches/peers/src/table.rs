//! The measurements, printed and as JSON.

use serde::Serialize;
use wgpu_adam_bench::rounds::Spread;

pub const UNDER: &str = "\
ms: wall time of one step, from the call until the device has done it; median, least, most. torch's is taken inside
Python. ours: how many times as fast ours is, by the median of the rounds' own ratios; contenders take turns within a
round. All begin with the same numbers and are checked to have made the same steps. Ours, the copy and burn's share one
device; the copy is the benchmark's, 28 bytes an element in one dispatch.";

#[derive(Serialize)]
pub struct Report {
    pub quick: bool,
    pub adapter: String,
    pub cases: Vec<Measured>,
}

#[derive(Serialize)]
pub struct Measured {
    pub name: &'static str,
    pub tensors: usize,
    pub elements: usize,
    pub rounds: usize,
    /// Ours is the first.
    pub contenders: Vec<Times>,
    /// Contenders that could not take part, and why.
    pub absent: Vec<(String, String)>,
}

#[derive(Serialize)]
pub struct Times {
    pub name: String,
    pub milliseconds: Spread,
    /// How many times as fast ours is, and the required minimum on a software adapter.
    pub ours: Option<Spread>,
    pub bar: Option<f64>,
}

impl Measured {
    pub fn print(&self) {
        println!("\n{}, {} rounds", self.name, self.rounds);
        println!("  {:<36} {:>8} {:>8} {:>8} {:>7}  bar", "", "ms", "least", "most", "ours");
        for Times { name, milliseconds: Spread { median, min, max }, ours, bar } in &self.contenders {
            let times = ours.map_or(String::new(), |ours| format!("{:.2} x", ours.median));
            let bar = ours.zip(*bar).map_or(String::new(), |(ours, bar)| {
                let met = if ours.median >= bar { "met" } else { "missed" };
                format!("  {bar:.1} x {met}")
            });
            println!("  {name:<36} {median:>8.3} {min:>8.3} {max:>8.3} {times:>7}{bar}");
        }
        for (name, reason) in &self.absent {
            println!("  {name:<36} not there ({reason})");
        }
    }
}
