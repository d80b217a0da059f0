//! Chooses the adapter for training.

use anyhow::{Context, Result, bail};

const INSTALL: &str = "no adapter found: wgpu needs a graphics driver with Vulkan, Metal, Direct3D 12 or OpenGL ES 3.1.\n\
                       On Debian and Ubuntu, software Vulkan is enough: apt-get install mesa-vulkan-drivers libvulkan1";

/// All adapters, the preferred one first: real GPUs, then software adapters, then OpenGL.
pub fn all() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::default();
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.sort_by_key(|adapter| {
        let info = adapter.get_info();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        (info.backend == wgpu::Backend::Gl, kind)
    });
    adapters
}

/// The adapter whose description contains `wanted`, or the preferred one.
pub fn choose(wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let adapters = all();
    if adapters.is_empty() {
        bail!(INSTALL);
    }
    let Some(wanted) = wanted else {
        return adapters.into_iter().next().context(INSTALL);
    };
    let describe_all = |adapters: &[wgpu::Adapter]| {
        adapters.iter().map(|adapter| format!("\n  {}", describe(&adapter.get_info()))).collect::<String>()
    };
    let fits = |adapter: &wgpu::Adapter| describe(&adapter.get_info()).to_lowercase().contains(&wanted.to_lowercase());
    let (mut fitting, others): (Vec<_>, Vec<_>) = adapters.into_iter().partition(fits);
    match (fitting.pop(), fitting.is_empty()) {
        (Some(adapter), true) => Ok(adapter),
        (Some(adapter), false) => {
            fitting.push(adapter);
            bail!("several adapters contain '{wanted}':{}", describe_all(&fitting))
        }
        (None, _) => bail!("no adapter contains '{wanted}'; there are:{}", describe_all(&others)),
    }
}

/// Backend, name and driver of an adapter, as one line.
pub fn describe(info: &wgpu::AdapterInfo) -> String {
    let line = format!("{:?} {} {} {}", info.backend, info.name, info.driver, info.driver_info);
    // Drivers may leave fields empty or pad them.
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Opens a device of the adapter with the limits that training requires.
pub fn open(adapter: &wgpu::Adapter) -> Result<(wgpu::Device, wgpu::Queue)> {
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("digits"),
        required_limits: digits::Trainer::required_limits(),
        ..Default::default()
    };
    pollster::block_on(adapter.request_device(&descriptor))
        .with_context(|| format!("opening {}", describe(&adapter.get_info())))
}
