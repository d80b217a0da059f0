//! Files that are cut off, or not of this format at all.

use super::{C, Header, Row, Tensor};

pub fn rows() -> Vec<Row> {
    vec![
        row!("nothing", |f| f.raw(&[]), C(Header { .. }), "0 bytes are too few for the length of a header"),
        row!("an empty file", |f| f.raw(&[]), C(Header { .. }), "the file is empty"),
        row!(
            "torch's own file",
            |f| f.raw(b"PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00 archive/data.pkl"),
            C(Header { .. }),
            "it is a zip archive, as torch.save writes them (.pt, .pth, .bin): convert it with tools/torch_checkpoint.py"
        ),
        row!(
            "a zip archive whose first bytes could be a length",
            |f| f.raw(b"PK\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00 archive/data.pkl"),
            C(Header { .. }),
            "tools/torch_checkpoint.py"
        ),
        row!(
            "torch's file of old",
            |f| f.raw(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
            C(Header { .. }),
            "it is a Python pickle, as torch.save wrote them before torch 1.6 (.pt, .pth): convert it with tools/torch_checkpoint.py"
        ),
        row!("a short pickle", |f| f.raw(b"\x80\x04N."), C(Header { .. }), "it is a Python pickle"),
        row!("gzip", |f| f.raw(b"\x1f\x8b\x08\0\0\0\0\0\0\x03abcdef"), C(Header { .. }), "compressed with gzip"),
        row!("zstd", |f| f.raw(b"\x28\xb5\x2f\xfd\x24\x05\0\0\0\0abc"), C(Header { .. }), "compressed with zstd"),
        row!("HDF5", |f| f.raw(b"\x89HDF\r\n\x1a\n\0\0\0\0abcdef"), C(Header { .. }), "it is an HDF5 file"),
        row!("a pointer", |f| f.raw(b"version https://git-lfs.\noid sha256:"), C(Header { .. }), "git lfs pull"),
        row!(
            "text",
            |f| f.raw(b"hello world, this is no checkpoint\n"),
            C(Header { .. }),
            "no checkpoint: it is no safetensors file, or is damaged: such a file begins with the length of its header, this \
             one with the bytes \"hello wo\"; as a length, it claims a header of 8031924123371070824 bytes in a file of 35"
        ),
        row!(
            "JSON without a length",
            |f| f.raw(br#"{"epoch": 3, "loss": 0.5}"#),
            C(Header { .. }),
            r#"it is no safetensors file, or is damaged: such a file begins with the length of its header, this one with the bytes "{\"epoch\"""#
        ),
        row!("seven bytes", |f| f.raw(&[0; 7]), C(Header { .. }), "7 bytes are too few"),
        row!(
            "a length alone",
            |f| f.raw(&2_u64.to_le_bytes()),
            C(Header { .. }),
            "claims a header of 2 bytes and has 0 more"
        ),
        row!(
            "a length that overflows",
            |f| f.length = Some(u64::MAX),
            C(Header { .. }),
            "claims a header of 18446744073709551615"
        ),
        row!(
            "a length just past i64",
            |f| f.length = Some(1 << 63),
            C(Header { .. }),
            "claims a header of 9223372036854775808"
        ),
        row!(
            "a header of 99 MB claimed",
            |f| f.length = Some(99_000_000),
            C(Header { .. }),
            "claims a header of 99000000 bytes and has"
        ),
        row!(
            "a header longer than allowed",
            |f| f.length = Some(100_000_001),
            C(Header { .. }),
            "100000000 are the most"
        ),
        row!("no header", |f| f.length = Some(0), C(Header { .. }), "does not begin with {"),
        row!("a header that is cut", |f| f.length = Some(40), C(Header { .. }), "the header cannot be read"),
        row!("a header that is no UTF-8", |f| f.header[20] = 0xff, C(Header { .. }), "the header is no text"),
        row!("a header that is a list", |f| f.header = b"[1]".to_vec(), C(Header { .. }), "does not begin with {"),
        row!("text behind the header's JSON", |f| f.header.extend(b"{}"), C(Header { .. }), "trailing characters"),
        row!(
            "JSON of great depth",
            |f| f.replace("\"__meta", &format!("\"x\":{}1{},\"__meta", "[".repeat(100_000), "]".repeat(100_000))),
            C(Header { .. }),
            "the header cannot be read"
        ),
        row!("bytes behind the last tensor", |f| f.data.push(0), C(Header { .. }), "1 bytes follow the last tensor"),
        row!(
            "data cut by a byte",
            |f| f.data.truncate(f.data.len() - 1),
            C(Tensor { .. }),
            "\"optimizer.state.b.step\" of the checkpoint ends at byte 128 of 127: the file is cut short"
        ),
        row!("no data", |f| f.data.clear(), C(Tensor { .. }), "the file is cut short"),
        row!("no tensors, but data", |f| f.header = b"{}".to_vec(), C(Header { .. }), "bytes follow the last tensor"),
    ]
}
