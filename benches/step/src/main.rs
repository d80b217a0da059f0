//! `cargo xtask bench`: the time of a step beside a copy that moves the same bytes, in the same run; and its cost on
//! the host. See `benches/NOTES.md` for the method.

use anyhow::{Result, ensure};
use pollster::block_on;
use wgpu_adam_bench::device::Gpu;
use wgpu_adam_bench::host::{self, Repeats};
use wgpu_adam_bench::options::{Options, USAGE};
use wgpu_adam_bench::rounds::Rounds;
use wgpu_adam_bench::{json, rows, table};
use wgpu_adam_suite::adapter::{adapters, describe};

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.help {
        println!("{USAGE}");
        return Ok(());
    }
    if options.list_adapters {
        block_on(adapters()).iter().for_each(|adapter| println!("{}", describe(&adapter.get_info())));
        return Ok(());
    }
    let mut report = json::Report { quick: options.quick, adapters: Vec::new() };
    for adapter in block_on(adapters()) {
        if options.wants(&describe(&adapter.get_info())) {
            let gpu = Gpu::open(&adapter)?;
            println!("\n=== {} ===\n", gpu.name);
            let rows = rows(&gpu, &options)?;
            report.adapters.push(json::Adapter { rows, ..host(&gpu, &options)? });
        }
    }
    let noop = Gpu::noop();
    if options.wants(&noop.name) {
        println!("\n=== {}: wgpu without a GPU ===", noop.name);
        report.adapters.push(host(&noop, &options)?);
    }
    ensure!(!report.adapters.is_empty(), "no adapter matches '{}'", options.adapter.unwrap_or_default());
    if let Some(file) = &options.json {
        json::write(&report, file)?;
        println!("\nwritten: {}", file.display());
    }
    Ok(())
}

/// Measures the steps, each beside its yardsticks.
fn rows(gpu: &Gpu, options: &Options) -> Result<Vec<rows::Measured>> {
    println!("{}", table::rows_header());
    let mut measured = Vec::new();
    for row in rows::rows() {
        let asked = options.rows.as_ref().is_none_or(|wanted| row.name.contains(wanted));
        if asked && (row.quick || !options.quick) {
            let row = row.measure(gpu, Rounds::new(options.quick))?;
            println!("{}", table::row(&row));
            measured.push(row);
        }
    }
    println!("{}", table::UNDER_ROWS);
    Ok(measured)
}

/// Measures the costs on the host.
fn host(gpu: &Gpu, options: &Options) -> Result<json::Adapter> {
    if options.rows.is_some() {
        return Ok(json::Adapter { name: gpu.name.clone(), ..Default::default() });
    }
    let repeats = Repeats::new(options.quick);
    let recordings = host::recordings(gpu, repeats)?;
    println!("\n{}", table::recordings_header());
    for recording in &recordings {
        println!("{}", table::recording(recording));
    }
    println!("{}\n\n{}", table::UNDER_HOST, table::makings_header());
    let makings = host::makings(gpu, repeats)?;
    for making in &makings {
        println!("{}", table::making(making));
    }
    Ok(json::Adapter { name: gpu.name.clone(), rows: Vec::new(), recordings, makings })
}
