//! State dicts while steps are recorded and not submitted: these steps are detected, and no others.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{Error, Param, ParamGroup, StateDict};

use super::subject::Subject;
use crate::{Gpu, twin::storage};

fn recorded(gpu: &Gpu, subject: &mut Subject, steps: usize) -> Result<wgpu::CommandEncoder> {
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for _ in 0..steps {
        subject.adam.record_step(&mut encoder)?;
    }
    Ok(encoder)
}

fn refused(result: Result<StateDict, Error>, steps: usize, case: &str) -> Result<()> {
    let error = result.err().with_context(|| format!("{case}: accepted"))?;
    ensure!(error == Error::UnsubmittedSteps { steps }, "{case}: {error:?} instead of {steps} unsubmitted steps");
    Ok(())
}

pub(super) async fn found(gpu: &Gpu) -> Result<()> {
    let mut subject = Subject::new(gpu)?;
    let encoder = recorded(gpu, &mut subject, 1)?;
    refused(subject.adam.state_dict().await, 1, "one step")?;
    gpu.queue.submit([encoder.finish()]);
    let after = subject.adam.state_dict().await.context("after the submit")?;

    let mut partner = Subject::new(gpu)?;
    partner.adam.step()?;
    ensure!(after == partner.adam.state_dict().await?, "the state dict after the submit differs");

    let encoder = recorded(gpu, &mut subject, 100)?;
    refused(subject.adam.state_dict().await, 100, "a hundred steps")?;
    let late = subject.adam.state_dict();
    gpu.queue.submit([encoder.finish()]);
    refused(late.await, 100, "submitted behind the call")?;
    subject.adam.state_dict().await.context("after the late submit")?;

    let first = recorded(gpu, &mut subject, 2)?;
    let second = recorded(gpu, &mut subject, 3)?;
    gpu.queue.submit([first.finish()]);
    refused(subject.adam.state_dict().await, 3, "the first of two encoders submitted")?;
    let second = second.finish();
    refused(subject.adam.state_dict().await, 3, "as a command buffer")?;
    gpu.queue.submit([second]);
    let submitted = subject.adam.state_dict().await.context("both submitted")?;

    // Steps recorded after the call do not count.
    let before = subject.adam.state_dict();
    let encoder = recorded(gpu, &mut subject, 1)?;
    ensure!(before.await.context("a step recorded behind the call")? == submitted, "it is not the state at the call");
    gpu.queue.submit([encoder.finish()]);

    // A copy that is dropped, and a step that is never submitted.
    drop(subject.adam.state_dict());
    drop(recorded(gpu, &mut subject, 1)?);
    subject.adam.state_dict().await.context("after an encoder was dropped")?;

    // Larger slots replace the old ones, whose leases are still out.
    let encoder = recorded(gpu, &mut subject, 1)?;
    for number in 0..20 {
        let param = Param::new(format!("more {number}"), [1], &storage(gpu, 4), &storage(gpu, 4));
        subject.adam.add_param_group(ParamGroup::new([param]))?;
    }
    let more = recorded(gpu, &mut subject, 1)?;
    refused(subject.adam.state_dict().await, 2, "slots that have grown")?;
    gpu.queue.submit([encoder.finish(), more.finish()]);
    subject.adam.state_dict().await.context("slots that have grown, submitted")?;
    Ok(())
}
