//! The interface for the page: a training run on a separate device.
//!
//! Methods that read return promises and hold nothing while they wait, so the page may call others meanwhile.

mod checkpoint;
mod report;

use digits::{Dataset, Trainer, Wanted};
use futures::FutureExt;
use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use wgpu_adam::AdamConfig;

use checkpoint::Saved;
use report::Report;

/// A model in training.
#[wasm_bindgen]
pub struct Session {
    device: wgpu::Device,
    queue: wgpu::Queue,
    dataset: Dataset,
    config: AdamConfig,
    trainer: Trainer,
}

#[wasm_bindgen]
impl Session {
    /// A new model on a new device. `digits` is the data set, one digit per line; `lr` is the initial learning rate.
    /// `lost` is called with a reason when the device is lost, `failed` with the message of an uncaught error.
    pub async fn open(digits: String, lr: f64, lost: Function, failed: Function) -> Result<Session, JsError> {
        let dataset = Dataset::parse(&digits).map_err(thrown)?;
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = wgpu::Instance::default().request_adapter(&options).await?;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("digits"),
            required_limits: Trainer::required_limits(),
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await?;
        // Ignores what the page's functions return or throw.
        device.set_device_lost_callback(move |_, reason| drop(lost.call1(&JsValue::NULL, &reason.into())));
        device.on_uncaptured_error(std::sync::Arc::new(move |error: wgpu::Error| {
            drop(failed.call1(&JsValue::NULL, &error.to_string().into()));
        }));
        let config = AdamConfig { lr, amsgrad: true, ..AdamConfig::default() };
        let trainer = trainer(&device, &queue, &dataset, config)?;
        trainer.ready().await.map_err(thrown)?;
        Ok(Self { device, queue, dataset, config, trainer })
    }

    /// Returns to the initial weights and options.
    pub fn reset(&mut self) -> Result<(), JsError> {
        self.trainer = trainer(&self.device, &self.queue, &self.dataset, self.config)?;
        Ok(())
    }

    /// Submits `count` training steps.
    pub fn step(&mut self, count: u32) -> Result<(), JsError> {
        (0..count).try_for_each(|_| self.trainer.step()).map_err(thrown)
    }

    /// Steps submitted so far.
    #[wasm_bindgen(getter)]
    pub fn steps(&self) -> f64 {
        self.trainer.steps() as f64
    }

    /// Steps that visit the training set once.
    #[wasm_bindgen(getter, js_name = stepsPerEpoch)]
    pub fn steps_per_epoch(&self) -> usize {
        self.trainer.steps_per_epoch()
    }

    /// A promise of the losses since the last call and everything else wanted: see `Report`. `digit` is 64 pixels or
    /// none.
    pub fn read(&mut self, accuracy: bool, first_layer: bool, digit: Option<Vec<f32>>) -> Result<Promise, JsError> {
        let digit = match digit {
            Some(pixels) => Some(pixels.try_into().map_err(|_| JsError::new("a digit has 64 pixels"))?),
            None => None,
        };
        let report = self.trainer.read(Wanted { accuracy, first_layer, digit });
        Ok(future_to_promise(async move { Ok(Report::from(report.await.map_err(thrown)?).into()) }))
    }

    /// A promise of the current run, as a `Saved` on the host.
    pub fn save(&mut self) -> Promise {
        let saved = self.trainer.save();
        future_to_promise(async move { Ok(Saved(saved.await.map_err(thrown)?).into()) })
    }

    /// Continues from `saved`, including its options.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), JsError> {
        if saved.0.steps == 0 {
            // A state without moments would remove amsgrad's, and amsgrad could not be switched on later.
            return self.reset();
        }
        // A state below the staging size loads at once; a call that waited would lock the session meanwhile.
        let restored = self.trainer.restore(&saved.0).now_or_never();
        restored.ok_or_else(|| JsError::new("the state is too large to be restored at once"))?.map_err(thrown)
    }

    /// The current learning rate, both betas, eps and weight decay.
    #[wasm_bindgen(getter)]
    pub fn options(&mut self) -> Vec<f64> {
        let config = self.config();
        vec![config.lr, config.betas.0, config.betas.1, config.eps, config.weight_decay]
    }

    #[wasm_bindgen(getter)]
    pub fn amsgrad(&mut self) -> bool {
        self.config().amsgrad
    }

    /// Whether the options that the page does not show are torch's; a checkpoint may have others.
    #[wasm_bindgen(getter, js_name = hasDefaults)]
    pub fn has_defaults(&mut self) -> bool {
        let AdamConfig { maximize, decoupled_weight_decay, .. } = AdamConfig::default();
        let config = self.config();
        (config.maximize, config.decoupled_weight_decay) == (maximize, decoupled_weight_decay)
    }

    /// Changes the options that the page shows, all or none, from the next step on.
    #[wasm_bindgen(js_name = setOptions)]
    pub fn set_options(
        &mut self,
        lr: f64,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
        amsgrad: bool,
    ) -> Result<(), JsError> {
        let shown = |config: &mut AdamConfig| {
            *config = AdamConfig { lr, betas: (beta1, beta2), eps, weight_decay, amsgrad, ..*config };
        };
        self.trainer.adam().update_group(0, shown).map_err(|error| JsError::new(&error.to_string()))
    }
}

impl Session {
    fn config(&mut self) -> AdamConfig {
        self.trainer.adam().param_groups().first().map_or(self.config, |group| *group.config())
    }
}

/// A model whose optimizer has amsgrad's state from the start, so that amsgrad can be switched on at any step.
fn trainer(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    dataset: &Dataset,
    config: AdamConfig,
) -> Result<Trainer, JsError> {
    let mut trainer = Trainer::new(device, queue, dataset, config).map_err(thrown)?;
    trainer.adam().set_amsgrad(0, false)?;
    Ok(trainer)
}

fn thrown(error: anyhow::Error) -> JsError {
    JsError::new(&format!("{error:#}"))
}
