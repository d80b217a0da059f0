//! Host benchmarks for tuning: planning and recording, on wgpu's device without a GPU.
//!
//! `cargo bench -p wgpu-adam-bench`, with `-- plan` for a part. Planning is private to the library. It is measured
//! through changes that require a new plan: a gradient that was removed or restored since the last step.

use std::time::Duration;

use anyhow::Result;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use wgpu_adam::AdamConfig;
use wgpu_adam_bench::adam::Adam;
use wgpu_adam_bench::device::Gpu;
use wgpu_adam_bench::models::{Shapes, equal, gpt2, resnet18};
use wgpu_adam_bench::rounds::Contender;

fn arena(gpu: &Gpu, shapes: &Shapes, groups: usize) -> Result<Adam> {
    Adam::arena(gpu, shapes, groups, AdamConfig::default())
}

/// The optimizers whose recording and planning is measured.
fn optimizers(gpu: &Gpu) -> Result<Vec<(&'static str, Adam)>> {
    let thousand = equal(1000, 1024);
    Ok(vec![
        ("one tensor", arena(gpu, &equal(1, 1_024_000), 1)?),
        ("1,000 in an arena", arena(gpu, &thousand, 1)?),
        ("1,000 in 28 groups", arena(gpu, &thousand, 28)?),
        ("1,000 in own buffers", Adam::own(gpu, &thousand)?),
        ("GPT-2", arena(gpu, &gpt2(), 1)?),
        ("ResNet-18", arena(gpu, &resnet18(), 1)?),
    ])
}

/// A step with an existing plan.
fn record(criterion: &mut Criterion) {
    let gpu = Gpu::noop();
    let mut group = criterion.benchmark_group("record");
    for (name, mut adam) in optimizers(&gpu).expect("the noop device takes everything") {
        group.bench_function(name, |bencher| steps(bencher, &gpu, &mut adam, |_| Ok(())));
    }
}

/// A step that needs a new plan: the last tensor's gradient is alternately removed and restored.
fn plan(criterion: &mut Criterion) {
    let gpu = Gpu::noop();
    let mut group = criterion.benchmark_group("plan");
    for (name, mut adam) in optimizers(&gpu).expect("the noop device takes everything") {
        group.bench_function(name, |bencher| {
            steps(bencher, &gpu, &mut adam, |adam| {
                let Some(last) = adam.tensors.last() else { return Ok(()) };
                if adam.optimizer.param(last.id)?.has_grad {
                    adam.optimizer.set_grad_to_none(last.id)?;
                } else {
                    adam.optimizer.set_grad(last.id, last.grad.clone())?;
                }
                Ok(())
            });
        });
    }
    let changing = arena(&gpu, &equal(1000, 1024), 1).and_then(Adam::changing);
    let mut adam = changing.expect("the noop device takes everything");
    group.bench_function("1,000, another tenth missing", |bencher| {
        steps(bencher, &gpu, &mut adam, Contender::prepare);
    });
}

/// Times `record_step` and not its preparation. Submits only the pending buffer writes, so that they do not pile up.
fn steps(bencher: &mut criterion::Bencher, gpu: &Gpu, adam: &mut Adam, prepare: impl Fn(&mut Adam) -> Result<()>) {
    // The bencher alternates two closures that both need `adam`; it never runs both at once.
    let adam = std::cell::RefCell::new(adam);
    let before = || {
        gpu.queue.submit([]);
        prepare(&mut adam.borrow_mut()).expect("the tensors are the optimizer's");
        gpu.encoder()
    };
    let step = |mut encoder| {
        adam.borrow_mut().encode(&mut encoder).expect("a step can be recorded");
        encoder
    };
    bencher.iter_batched(before, step, BatchSize::PerIteration);
}

/// Short: it shows differences of a few percent, and the whole takes less than a minute.
fn short() -> Criterion {
    let criterion = Criterion::default().sample_size(30).without_plots();
    criterion.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = host;
    config = short();
    targets = record, plan
}
criterion_main!(host);
