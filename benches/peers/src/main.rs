//! `cargo xtask bench --peers`: compares a step with burn's Adam on the same device and, if there is a Python with
//! torch, with torch's on the CPU. See `benches/NOTES.md` for the method.

mod burn_adam;
mod contender;
mod options;
mod ours;
mod table;
mod torch;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use burn::tensor::wgpu::WgpuSetup;
use pollster::block_on;
use wgpu_adam_bench::device::Gpu;
use wgpu_adam_bench::rounds::{Rounds, Spread};
use wgpu_adam_suite::adapter::{describe, select};

use burn_adam::Burn;
use contender::{Case, Contender, check, measure};
use options::{Options, USAGE};
use ours::{Copied, Ours};
use table::{Measured, Report, Times};
use torch::{PATHS, Path, Torch};

/// How many times as fast as the others our step must be on a software adapter.
#[derive(Clone, Copy, Default)]
struct Bars {
    burn: Option<f64>,
    torch_fused: Option<f64>,
}

const CASES: [(Case, Bars); 2] = [
    (Case { name: "one tensor of 2^22", tensors: 1, elements: 1 << 22 }, Bars { burn: Some(4.5), torch_fused: None }),
    (
        Case { name: "1,000 tensors of 1,024", tensors: 1000, elements: 1024 },
        Bars { burn: Some(35.0), torch_fused: Some(1.0) },
    ),
];

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.help {
        println!("{USAGE}");
        return Ok(());
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    if options.list_adapters {
        adapters.iter().for_each(|adapter| println!("{}", describe(&adapter.get_info())));
        return Ok(());
    }
    let setup = open(instance, select(adapters, options.adapter.as_deref())?)?;
    let info = setup.adapter.get_info();
    let name = describe(&info);
    println!("\n=== {name} ===");
    let software = info.device_type == wgpu::DeviceType::Cpu;
    let gpu = Gpu { name, device: setup.device.clone(), queue: setup.queue.clone() };
    let burn = burn_adam::device(setup)?;
    let torch = Torch::start(&options.python)?.map(|torch| Rc::new(RefCell::new(torch)));

    let rounds = if options.quick { Rounds::new(true) } else { full() };
    let mut report = Report { quick: options.quick, adapter: gpu.name.clone(), cases: Vec::new() };
    for (case, bars) in CASES {
        let bars = if software { bars } else { Bars::default() };
        let measured = run(&gpu, &burn, &torch, case, bars, rounds)?;
        measured.print();
        report.cases.push(measured);
    }
    println!("\n{}", table::UNDER);
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
        println!("\nwritten: {}", file.display());
    }
    Ok(())
}

/// In the first rounds burn searches for the best fusion of its operations.
fn full() -> Rounds {
    Rounds { placements: 1, warm_up: 5, least: 7, most: 31, time: Duration::from_secs(4) }
}

/// Opens a device as burn does for itself, with all of the adapter's features except those that wgpu calls
/// experimental.
fn open(instance: wgpu::Instance, adapter: wgpu::Adapter) -> Result<WgpuSetup> {
    let unwanted = wgpu::Features::MAPPABLE_PRIMARY_BUFFERS.union(wgpu::Features::all_experimental_mask());
    let opened = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("peers"),
        required_features: adapter.features().difference(unwanted),
        required_limits: adapter.limits(),
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    }));
    let (device, queue) = opened.context("opening a device")?;
    let backend = adapter.get_info().backend;
    Ok(WgpuSetup { instance, adapter, device, queue, backend })
}

fn run(
    gpu: &Gpu,
    burn: &burn::tensor::Device,
    torch: &Result<Rc<RefCell<Torch>>, String>,
    case: Case,
    bars: Bars,
    rounds: Rounds,
) -> Result<Measured> {
    let mut contenders: Vec<(Box<dyn Contender + '_>, Option<f64>)> = vec![
        (Box::new(Ours::new(gpu, case)?), None),
        (Box::new(Copied::new(gpu, case)?), None),
        (Box::new(Burn::new(burn, case)?), bars.burn),
    ];
    let mut absent = Vec::new();
    match torch {
        Err(reason) => absent.push(("torch".to_owned(), reason.clone())),
        Ok(torch) => {
            for (path, bar) in PATHS.into_iter().zip([bars.torch_fused, None, None]) {
                match Path::new(torch, path, case)? {
                    Err(reason) => absent.push((format!("torch, {path}"), reason)),
                    Ok(path) => contenders.push((Box::new(path), bar)),
                }
            }
        }
    }
    let (mut contenders, bars): (Vec<_>, Vec<_>) = contenders.into_iter().unzip();
    let times = measure(rounds, &mut contenders)?;
    let Some(ours) = times.first() else { bail!("nothing was measured") };
    check(case, rounds.warm_up + ours.len(), &mut contenders)?;
    let told = contenders.iter().zip(&times).zip(bars).enumerate().map(|(place, ((contender, times), bar))| Times {
        name: contender.name(),
        milliseconds: Spread::of(times.iter().copied()),
        ours: (place > 0).then(|| Spread::of(times.iter().zip(ours).map(|(time, ours)| time / ours))),
        bar,
    });
    let Case { name, tensors, elements } = case;
    Ok(Measured { name, tensors, elements, rounds: ours.len(), contenders: told.collect(), absent })
}
