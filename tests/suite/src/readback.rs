//! Reads many buffers back through one staging buffer.

use anyhow::{Context, Result, bail, ensure};
use futures::channel::oneshot;
use wgpu_adam::{ParamState, TensorBuffer};

use crate::{Body, adapter::Gpu, body, golden::Key};

/// Bytes staged at once.
const BATCH: u64 = 16 << 20;

/// A range of float32 values in a buffer.
#[derive(Clone, Debug)]
pub struct Span {
    pub buffer: wgpu::Buffer,
    /// In bytes.
    pub offset: u64,
    pub elements: u64,
}

/// Reads `elements` values from a byte offset on.
pub async fn read_f32(gpu: &Gpu, buffer: &wgpu::Buffer, offset: u64, elements: u64) -> Result<Vec<f32>> {
    let mut values = read_all(gpu, &[vec![Span { buffer: buffer.clone(), offset, elements }]]).await?;
    Ok(values.remove(0))
}

/// Reads the `len` values of a parameter or a gradient.
pub async fn read_tensor(gpu: &Gpu, tensor: &TensorBuffer, len: u64) -> Result<Vec<f32>> {
    read_f32(gpu, tensor.buffer(), tensor.offset(), len).await
}

/// Reads one moment of a parameter, assembled from its pieces.
pub async fn read_state(gpu: &Gpu, state: &ParamState, key: Key) -> Result<Vec<f32>> {
    let mut values = read_all(gpu, &[state_spans(state, key)?]).await?;
    Ok(values.remove(0))
}

/// The places of a moment's pieces, in the order of the tensor's elements.
pub fn state_spans(state: &ParamState, key: Key) -> Result<Vec<Span>> {
    let mut end = 0;
    let mut spans = Vec::new();
    for piece in &state.pieces {
        if piece.start != end {
            bail!("a piece of the state starts at element {} where {end} was expected", piece.start);
        }
        end += piece.length;
        let offset = match key {
            Key::Param => bail!("the parameter is no part of its state"),
            Key::ExpAvg => piece.exp_avg,
            Key::ExpAvgSq => piece.exp_avg_sq,
            Key::MaxExpAvgSq => piece.max_exp_avg_sq.context("the state has no max_exp_avg_sq")?,
        };
        spans.push(Span { buffer: piece.buffer.clone(), offset, elements: piece.length });
    }
    Ok(spans)
}

/// The values of each list of spans, one after the other.
pub async fn read_all(gpu: &Gpu, lists: &[Vec<Span>]) -> Result<Vec<Vec<f32>>> {
    let batch = BATCH.min(gpu.device.limits().max_buffer_size) / 4;
    let mut values: Vec<Vec<f32>> = lists.iter().map(|_| Vec::new()).collect();
    let mut pending: Vec<(usize, Span)> = Vec::new();
    let mut room = batch;
    for (index, list) in lists.iter().enumerate() {
        for span in list {
            let mut rest = span.clone();
            while rest.elements > 0 {
                let elements = rest.elements.min(room);
                pending.push((index, Span { elements, ..rest.clone() }));
                rest.offset += 4 * elements;
                rest.elements -= elements;
                room -= elements;
                if room == 0 {
                    read_batch(gpu, &std::mem::take(&mut pending), &mut values).await?;
                    room = batch;
                }
            }
        }
    }
    if !pending.is_empty() {
        read_batch(gpu, &pending, &mut values).await?;
    }
    Ok(values)
}

/// Appends each span to the list of its index.
async fn read_batch(gpu: &Gpu, spans: &[(usize, Span)], values: &mut [Vec<f32>]) -> Result<()> {
    let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size: spans.iter().map(|(_, span)| 4 * span.elements).sum(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut at = 0;
    for (_, span) in spans {
        encoder.copy_buffer_to_buffer(&span.buffer, span.offset, &staging, at, 4 * span.elements);
        at += 4 * span.elements;
    }
    gpu.queue.submit([encoder.finish()]);
    map(gpu, &staging).await?;
    let view = staging.get_mapped_range(..).context("reading a mapped buffer")?;
    let mut words = view.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    for (index, span) in spans {
        values[*index].extend(words.by_ref().take(span.elements as usize));
    }
    Ok(())
}

/// Maps a whole buffer for reading. Browsers run callbacks by themselves; native devices must be polled.
async fn map(gpu: &Gpu, buffer: &wgpu::Buffer) -> Result<()> {
    let (sender, receiver) = oneshot::channel();
    // The receiver is gone only if this future was dropped.
    buffer.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
    if cfg!(not(target_family = "wasm")) {
        gpu.device.poll(wgpu::PollType::wait_indefinitely()).context("waiting for a readback")?;
    }
    receiver.await.context("the device dropped a readback")?.context("mapping a readback buffer")
}

pub(crate) const BODIES: &[(&str, Body)] = &[body!("readback/spans", gpu => spans_come_back(gpu))];

/// Spans of several lists, together longer than one batch.
async fn spans_come_back(gpu: &Gpu) -> Result<()> {
    let elements = BATCH / 4 + 1000;
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("values"),
        size: 4 * elements,
        usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    // Neighbours differ, and float32 holds each exactly.
    let values: Vec<f32> = (0..elements).map(|i| i as f32).collect();
    gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&values));
    let span = |start: u64, elements: u64| Span { buffer: buffer.clone(), offset: 4 * start, elements };
    let lists =
        [vec![span(3, 2), span(0, 1)], vec![], vec![span(0, elements)], vec![span(elements - 1, 1), span(7, 0)]];
    let read = read_all(gpu, &lists).await?;
    ensure!(read.len() == 4 && read[0] == [3.0, 4.0, 0.0] && read[1].is_empty(), "short spans: {:?}", &read[..2]);
    ensure!(read[2] == values, "the whole buffer differs");
    ensure!(read[3] == values[values.len() - 1..], "the last element: {:?}", read[3]);
    Ok(())
}
