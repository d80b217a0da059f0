//! Files that are cut, or no files of the format at all.

use super::{C, Header, Row, Tensor};

pub fn rows() -> Vec<Row> {
    vec![
        row!("nothing", |f| f.raw(&[]), C(Header { .. }), "0 bytes are too few for the length of a header"),
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
