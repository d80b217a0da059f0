//! The bodies in a browser page, whose script calls `run(name)`.

#[cfg(target_family = "wasm")]
mod page {
    use wasm_bindgen::prelude::wasm_bindgen;
    use wgpu_adam_suite::adapter::adapters;
    use wgpu_adam_suite::{Gpu, Skipped, bodies};

    #[wasm_bindgen]
    extern "C" {
        #[wasm_bindgen(js_namespace = console)]
        fn error(text: &str);
    }

    /// Prints panics: a panic ends the program, and without this the reason would be lost.
    pub fn tell_panics() {
        std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
    }

    /// Runs a body on a new device. Returns the outcome (passed, skipped or failed) and the reason.
    #[wasm_bindgen]
    pub async fn run(name: String) -> Vec<String> {
        let (outcome, reason) = match run_body(&name).await {
            Ok(()) => ("passed", String::new()),
            Err(error) => match error.downcast_ref::<Skipped>() {
                Some(Skipped(reason)) => ("skipped", reason.clone()),
                None => ("failed", format!("{error:#}")),
            },
        };
        vec![outcome.to_owned(), reason]
    }

    async fn run_body(name: &str) -> anyhow::Result<()> {
        let body = bodies().iter().find(|(other, _)| *other == name);
        let (_, body) = body.ok_or_else(|| anyhow::anyhow!("there is no body {name}"))?;
        let adapter = adapters().await.into_iter().next();
        let gpu = Gpu::default_limits(&adapter.ok_or_else(|| anyhow::anyhow!("there is no adapter"))?).await?;
        let result = body(&gpu).await;
        let errors = gpu.check_errors();
        // Otherwise the device's memory lives until JavaScript's garbage is collected.
        gpu.device.destroy();
        // A device error explains a failure better than its consequences do.
        errors.and(result)
    }
}

fn main() {
    #[cfg(target_family = "wasm")]
    page::tell_panics();
    #[cfg(not(target_family = "wasm"))]
    eprintln!("a page for browsers; `cargo xtask test` builds and runs it");
}
