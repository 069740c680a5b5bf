//! How inputs are cut.

/// A number that hangs on all of the input: where it is cut, which limit is tried.
pub fn number(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The input in pieces, as a network could bring it: single bytes, a few, or many.
pub fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut seed) = (data, number(data) | 1);
    std::iter::from_fn(move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let most = [1, 4, 40, 1500][(seed % 4) as usize];
        let size = 1 + (seed >> 8) as usize % most;
        let (piece, left) = rest.split_at(size.min(rest.len()));
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The input as text, and its first line apart from the rest.
pub fn lines(data: &[u8]) -> (&str, &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    (std::str::from_utf8(&data[..end]).unwrap_or_default(), data.get(end + 1..).unwrap_or_default())
}
