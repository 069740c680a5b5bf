//! What is written, byte by byte, and what is read, whatever the lengths say.

use super::*;

#[test]
fn the_first_frame_of_a_new_session_is_as_zookeepers_own_client_sends_it() {
    let frame = connect(&SessionId::default(), 0, 10_000);
    let mut expected = vec![0, 0, 0, 45, 0, 0, 0, 0];
    expected.extend([0; 8]);
    expected.extend([0, 0, 0x27, 0x10]);
    expected.extend([0; 8]);
    expected.extend([0, 0, 0, 16]);
    expected.extend([0; 17]);
    assert_eq!(frame, expected);
}

#[test]
fn requests_are_framed_with_path_and_watch() {
    assert_eq!(get_children(7, "/m"), b"\0\0\0\x0f\0\0\0\x07\0\0\0\x08\0\0\0\x02/m\x01");
    assert_eq!(ping(), b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b");
    assert_eq!(auth("u:p"), b"\0\0\0\x1d\xff\xff\xff\xfc\0\0\0\x64\0\0\0\0\0\0\0\x06digest\0\0\0\x03u:p");
}

#[test]
fn frames_come_whole_whatever_pieces_they_arrive_in() {
    let stream = b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c";
    for piece in 1..stream.len() {
        let (mut frames, mut seen) = (Frames::default(), Vec::new());
        for bytes in stream.chunks(piece) {
            frames.push(bytes);
            while let Some(frame) = frames.next().expect("frames") {
                seen.push(frame);
            }
        }
        assert_eq!(seen, [b"ab".to_vec(), Vec::new(), b"c".to_vec()]);
    }
}

#[test]
fn frames_that_were_handed_out_leave_nothing_behind() {
    let mut frames = Frames::default();
    frames.push(&[0; 4 * 200_000]);
    let mut count = 0;
    while let Some(frame) = frames.next().expect("frames") {
        assert!(frame.is_empty());
        count += 1;
    }
    assert_eq!(count, 200_000);
    frames.push(b"\0\0\0\x01c");
    assert_eq!((frames.next(), frames.bytes.len()), (Ok(Some(b"c".to_vec())), 5));
}

#[test]
fn a_frame_that_is_too_long_is_refused_by_its_head() {
    for (head, length) in [([0x7f, 0xff, 0xff, 0xff], i32::MAX), ([0xff; 4], -1), (*b"HTTP", 0x4854_5450)] {
        let mut frames = Frames::default();
        frames.push(&head);
        assert_eq!(frames.next(), Err(WireError::FrameLength(length)));
    }
    let mut frames = Frames::default();
    frames.push(&(MAX_FRAME as i32).to_be_bytes());
    assert_eq!(frames.next(), Ok(None));
}

#[test]
fn lengths_that_lie_are_refused() {
    assert_eq!(read_children(&[0x7f, 0xff, 0xff, 0xff]), Err(WireError::Short));
    assert_eq!(read_children(&[0xff, 0xff, 0xff, 0xfe]), Err(WireError::Length(-2)));
    assert_eq!(read_children(&[0, 0, 0, 1, 0, 0, 0, 9, b'x']), Err(WireError::Length(9)));
    assert_eq!(read_children(&[0, 0, 0, 1, 0, 0, 0, 1, 0xff]), Err(WireError::NotUtf8));
    assert_eq!(read_children(&[0xff; 4]), Ok(Vec::new()));
    assert_eq!(read_data(&[0xff, 0xff, 0xff, 0xfd]), Err(WireError::Length(-3)));
    assert_eq!(read_data(&[0, 0, 0, 1, b'x', 1, 2]), Ok(&b"x"[..]));
    for length in 0..16 {
        assert_eq!(read_reply(&vec![0; length]), Err(WireError::Short));
    }
    let mut long_password = vec![0; 16];
    long_password.extend([0, 0, 1, 1]);
    long_password.extend([7; 257]);
    assert_eq!(read_connected(&long_password), Err(WireError::Length(257)));
}

#[test]
fn a_watch_event_names_its_node() {
    let mut frame = vec![0xff; 4];
    frame.extend([0; 12]);
    frame.extend(b"\0\0\0\x04\0\0\0\x03\0\0\0\x02/m");
    assert_eq!(read_reply(&frame), Ok(Reply::Event { path: "/m" }));
}
