//! A question to the debugger (`DbgPrompt`): sent like text, and the machine stands still until it is answered, as on Windows.

use kd::packet::kind;
use kd::wire::{DebugIo, GET_STRING};
use kd::zerocopy::{FromBytes as _, IntoBytes as _};

use super::hold::Session;
use super::transport::{Patience, Received, Sent, Transport, Wire};
use super::{LONGEST_TEXT, is_present, patience, set_present};

/// Asks, and puts the answer into `answer`. How many bytes it has; none, when no debugger is there to be asked.
pub(crate) fn prompt(question: &[u8], answer: &mut [u8]) -> usize {
    if !is_present() {
        return 0;
    }
    let Some(mut session) = Session::enter() else { return 0 };
    let processor = session.own as u16;
    let answered = ask(&mut session.state().transport, processor, question, answer, patience());
    set_present(answered.is_some());
    answered.unwrap_or(0)
}

/// `None`: the debugger is gone.
fn ask<W: Wire>(
    transport: &mut Transport<W>,
    processor: u16,
    question: &[u8],
    answer: &mut [u8],
    patience: Patience,
) -> Option<usize> {
    let question = &question[..question.len().min(LONGEST_TEXT)];
    let room = answer.len().min(LONGEST_TEXT);
    let head = DebugIo { api: GET_STRING, level: 0, processor, length: question.len() as u32, room: room as u32 };
    loop {
        if transport.send(kind::DEBUG_IO, &[head.as_bytes(), question], patience) == Sent::Silence {
            return None;
        }
        loop {
            match transport.receive() {
                // Another debugger, or the same one anew: it has not heard the question.
                Received::Again => break,
                Received::Packet(kind::DEBUG_IO) => {}
                Received::Packet(_) => continue,
            }
            let Ok((said, text)) = DebugIo::read_from_prefix(transport.data()) else { continue };
            if said.api == GET_STRING {
                let length = room.min(said.room as usize).min(text.len());
                answer[..length].copy_from_slice(&text[..length]);
                return Some(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use kd::packet::{INITIAL_ID, SYNC};
    use kd::wire::PRINT_STRING;

    use super::super::transport::tests::{control, line, packet};
    use super::*;

    fn said(api: u32, room: u32, text: &[u8]) -> Vec<u8> {
        [DebugIo { api, level: 0, processor: 0, length: 6, room }.as_bytes(), text].concat()
    }

    #[test]
    fn a_question_is_answered_with_as_much_as_there_is_room_for() {
        for (room, claimed, text, expected) in
            [(8, 2, &b"yes"[..], &b"ye"[..]), (2, 3, b"yes", b"ye"), (8, 99, b"y", b"y"), (8, 0, b"", b"")]
        {
            let heard = control(kind::ACKNOWLEDGE, INITIAL_ID);
            let mut transport = line(&[&heard, &packet(kind::DEBUG_IO, INITIAL_ID, &said(GET_STRING, claimed, text))]);
            let mut answer = std::vec![0; room];
            assert_eq!(ask(&mut transport, 0, b"Break?", &mut answer, Patience::Endless), Some(expected.len()));
            assert_eq!(&answer[..expected.len()], expected);
            let question = packet(kind::DEBUG_IO, INITIAL_ID | SYNC, &said(GET_STRING, room as u32, b"Break?"));
            assert!(transport.heard().starts_with(&question));
        }
    }

    #[test]
    fn what_is_no_answer_is_passed_over_and_a_debugger_that_begins_anew_is_asked_again() {
        let answer = said(GET_STRING, 2, b"ok");
        let mut transport = line(&[
            &control(kind::ACKNOWLEDGE, INITIAL_ID),
            &packet(kind::MANIPULATE, INITIAL_ID, b"a request"),
            &packet(kind::DEBUG_IO, INITIAL_ID ^ 1, &said(PRINT_STRING, 2, b"no")),
            &packet(kind::DEBUG_IO, INITIAL_ID, b"short"),
            &control(kind::RESET, 0),
            &control(kind::ACKNOWLEDGE, INITIAL_ID),
            &packet(kind::DEBUG_IO, INITIAL_ID, &answer),
        ]);
        let mut room = [0; 4];
        assert_eq!(ask(&mut transport, 0, b"Break?", &mut room, Patience::Endless), Some(2));
        assert_eq!(&room[..2], b"ok");
        let again = packet(kind::DEBUG_IO, INITIAL_ID, &said(GET_STRING, 4, b"Break?"));
        assert!(transport.heard().windows(again.len()).any(|bytes| bytes == again));
    }

    #[test]
    fn nobody_to_ask_is_no_answer() {
        let mut transport = line(&[]);
        assert_eq!(ask(&mut transport, 0, b"Break?", &mut [0; 4], Patience::Times(2)), None);
    }
}
