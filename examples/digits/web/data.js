// The files of the page: the digits, and torch's recorded run.

// The data set as lines of 64 pixels and a class, and its test digits, which are every fifth digit.
export async function fetchDigits() {
  const packed = (await fetched('digits.csv.gz')).body;
  const csv = await new Response(packed.pipeThrough(new DecompressionStream('gzip'))).text();
  const digit = line => {
    const numbers = line.split(',').map(Number);
    return { pixels: Float32Array.from(numbers.slice(0, 64), value => value / 16), label: numbers[64] };
  };
  return { csv, test: csv.trim().split('\n').filter((_, row) => row % 5 === 0).map(digit) };
}

export async function fetchTorch() {
  const { torch, lr, epochs, loss_per_step } = await (await fetched('digits_torch_run.json')).json();
  return { version: torch.split('+')[0], lr, epochs, losses: loss_per_step };
}

async function fetched(file) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file} could not be loaded: ${response.status}`);
  return response;
}
