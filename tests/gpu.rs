//! Runs every test body of the suite on every adapter of this machine, or on those that `WGPU_ADAM_ADAPTER` matches.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use wgpu_adam_suite::{
    Body, Gpu, Skipped,
    adapter::{adapters, describe, matches},
    bodies,
};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let wanted = std::env::var("WGPU_ADAM_ADAPTER").ok();
    let mut tested = pollster::block_on(adapters());
    tested.retain(|adapter| wanted.as_deref().is_none_or(|wanted| matches(&adapter.get_info(), wanted)));

    let mut trials = Vec::new();
    let mut seen = BTreeMap::new();
    for adapter in tested {
        let info = adapter.get_info();
        let times = seen.entry(short_name(&info)).or_insert(0);
        *times += 1;
        let name = if *times == 1 { short_name(&info) } else { format!("{} #{times}", short_name(&info)) };
        if !arguments.list {
            eprintln!("testing '{name}': {}", describe(&info));
        }
        let adapter = Arc::new(adapter);
        for &(test, body) in bodies() {
            let adapter = adapter.clone();
            trials.push(Trial::ignorable_test(format!("{name}/{test}"), move || run(&adapter, body)));
        }
    }
    if trials.is_empty() {
        trials.push(Trial::test("an adapter to test", move || Err(no_adapter(wanted.as_deref()).into())));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The backend, and the adapter's name up to the first parenthesis.
fn short_name(info: &wgpu::AdapterInfo) -> String {
    let name = info.name.split(" (").next().unwrap_or_default();
    format!("{:?} {name}", info.backend)
}

fn run(adapter: &wgpu::Adapter, body: Body) -> Result<Completion, Failed> {
    let result = pollster::block_on(async {
        let gpu = Gpu::default_limits(adapter).await?;
        let result = body(&gpu).await;
        // A device error explains a failure better than its consequences do.
        gpu.check_errors()?;
        result
    });
    match result {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => match error.downcast_ref::<Skipped>() {
            Some(Skipped(reason)) => Ok(Completion::ignored_with(reason)),
            None => Err(format!("{error:#}").into()),
        },
    }
}

fn no_adapter(wanted: Option<&str>) -> String {
    let found: String =
        pollster::block_on(adapters()).iter().map(|adapter| format!("\n  {}", describe(&adapter.get_info()))).collect();
    match wanted {
        Some(wanted) if !found.is_empty() => {
            format!("no adapter matches WGPU_ADAM_ADAPTER='{wanted}'; there are:{found}")
        }
        _ => "wgpu finds no adapter: install a GPU driver, or a software one (Debian and Ubuntu: \
              mesa-vulkan-drivers for Vulkan, libegl1 and libgl1-mesa-dri for GL)"
            .to_owned(),
    }
}
