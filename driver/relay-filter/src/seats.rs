//! Which carrier carries whom. Pure: a table of seats, generic in what sits there.
//!
//! Sending a carrier and cancelling it take time, and the carrier may come back meanwhile. So a seat can be held: a carrier that comes back then
//! is kept there until the last hold is released, and whoever releases it goes on with it. A cancel never reaches the carrier's next journey,
//! and a completion inside of a send does not begin another send inside of it.

/// The number of a seat and of the journey, so that a late cancel does not stop the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) seat: usize,
    journey: u32,
}

impl Ticket {
    /// As one number, to travel with a request.
    pub(crate) const fn number(self) -> u64 {
        (self.journey as u64) << 32 | self.seat as u64
    }

    pub(crate) const fn from_number(number: u64) -> Self {
        Self { seat: (number & 0xffff_ffff) as usize, journey: (number >> 32) as u32 }
    }
}

/// A carrier's seat.
#[derive(Debug)]
pub(crate) struct Seat<Idle, Client, Back> {
    journey: u32,
    state: State<Idle, Client>,
    /// Holds that have not been released.
    holds: u32,
    /// The carrier, come back while the seat was held.
    back: Option<Back>,
}

#[derive(Debug)]
enum State<Idle, Client> {
    /// The carrier is here.
    Idle(Idle),
    /// The carrier is being sent, or is on its way; its client if it has (still) one.
    Away(Option<Client>),
}

impl<Idle, Client, Back> Seat<Idle, Client, Back> {
    pub(crate) const fn new(idle: Idle) -> Self {
        Self { journey: 0, state: State::Idle(idle), holds: 0, back: None }
    }

    /// The carrier goes to whoever goes on with it. From here on nobody can hold the journey: a cancel would reach the next one.
    fn end_journey(&mut self, back: Back) -> Option<(Back, Option<Client>)> {
        let State::Away(client) = &mut self.state else { return None };
        self.journey = self.journey.wrapping_add(1);
        Some((back, client.take()))
    }
}

/// All seats.
pub(crate) struct Seats<S> {
    seats: S,
}

impl<Idle: 'static, Client: 'static, Back: 'static, S> Seats<S>
where
    S: core::ops::DerefMut<Target = [Seat<Idle, Client, Back>]>,
{
    pub(crate) const fn new(seats: S) -> Self {
        Self { seats }
    }

    /// Takes an idle carrier for a journey.
    pub(crate) fn depart(&mut self) -> Option<(Ticket, Idle)> {
        let (seat, place) = self.seats.iter_mut().enumerate().find(|(_, place)| matches!(place.state, State::Idle(_)))?;
        let State::Idle(idle) = core::mem::replace(&mut place.state, State::Away(None)) else { return None };
        place.journey = place.journey.wrapping_add(1);
        Some((Ticket { seat, journey: place.journey }, idle))
    }

    /// The journey of `ticket` has this client.
    pub(crate) fn board(&mut self, ticket: Ticket, client: Client) -> Result<(), Client> {
        match self.seats.get_mut(ticket.seat) {
            Some(Seat { journey, state: State::Away(place @ None), .. }) if *journey == ticket.journey => {
                *place = Some(client);
                Ok(())
            }
            _ => Err(client),
        }
    }

    /// The client leaves the journey of `ticket`, if it is still on it.
    pub(crate) fn alight(&mut self, ticket: Ticket) -> Option<Client> {
        match self.seats.get_mut(ticket.seat) {
            Some(Seat { journey, state: State::Away(client), .. }) if *journey == ticket.journey => client.take(),
            _ => None,
        }
    }

    /// The carrier of `seat` has come back. Its client, and the carrier, unless the seat is held.
    pub(crate) fn arrive(&mut self, seat: usize, back: Back) -> Option<(Back, Option<Client>)> {
        let place = self.seats.get_mut(seat)?;
        if place.holds != 0 {
            place.back = Some(back);
            return None;
        }
        place.end_journey(back)
    }

    /// The carrier is idle again.
    pub(crate) fn rest(&mut self, seat: usize, idle: Idle) {
        if let Some(place) = self.seats.get_mut(seat) {
            place.state = State::Idle(idle);
        }
    }

    /// The carrier, which has arrived, goes on at once with another client.
    pub(crate) fn depart_again(&mut self, seat: usize) -> Option<Ticket> {
        let place = self.seats.get_mut(seat)?;
        place.journey = place.journey.wrapping_add(1);
        Some(Ticket { seat, journey: place.journey })
    }

    /// Holds the seat, if the journey of `ticket` goes on; the caller then calls [`release`](Self::release).
    pub(crate) fn hold(&mut self, ticket: Ticket) -> bool {
        let Some(place) = self.seats.get_mut(ticket.seat) else { return false };
        let goes_on = place.journey == ticket.journey && matches!(place.state, State::Away(_)) && place.back.is_none();
        place.holds += u32::from(goes_on);
        goes_on
    }

    /// Gives a hold back. The carrier, if it came back meanwhile and nobody else holds the seat.
    pub(crate) fn release(&mut self, seat: usize) -> Option<(Back, Option<Client>)> {
        let place = self.seats.get_mut(seat)?;
        place.holds = place.holds.saturating_sub(1);
        if place.holds != 0 {
            return None;
        }
        let back = place.back.take()?;
        place.end_journey(back)
    }

    /// The journey of the first client that `which` picks.
    pub(crate) fn journey_of(&self, which: impl Fn(&Client) -> bool) -> Option<(Ticket, &Client)> {
        self.seats.iter().enumerate().find_map(|(seat, place)| match &place.state {
            State::Away(Some(client)) if which(client) => Some((Ticket { seat, journey: place.journey }, client)),
            _ => None,
        })
    }

    /// The journey of `seat`, when its carrier is away and `which` picks its client.
    pub(crate) fn journey_at(&self, seat: usize, which: impl Fn(Option<&Client>) -> bool) -> Option<Ticket> {
        let place = self.seats.get(seat)?;
        match &place.state {
            State::Away(client) if which(client.as_ref()) => Some(Ticket { seat, journey: place.journey }),
            _ => None,
        }
    }

    /// The carrier of `seat`, when it is idle.
    pub(crate) fn idle_at(&self, seat: usize) -> Option<&Idle> {
        match &self.seats.get(seat)?.state {
            State::Idle(idle) => Some(idle),
            State::Away(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(count: usize) -> Seats<Vec<Seat<&'static str, &'static str, &'static str>>> {
        Seats::new((0..count).map(|_| Seat::new("carrier")).collect())
    }

    #[test]
    fn a_carrier_brings_its_client_back() {
        let mut seats = seats(1);
        let (ticket, _) = seats.depart().expect("one is idle");
        seats.board(ticket, "client").expect("the seat is empty");
        assert_eq!(seats.arrive(ticket.seat, "back"), Some(("back", Some("client"))));
    }

    #[test]
    fn a_carrier_that_comes_back_while_held_waits_for_the_release() {
        let mut seats = seats(1);
        let (ticket, _) = seats.depart().expect("one is idle");
        seats.board(ticket, "client").expect("the seat is empty");
        assert!(seats.hold(ticket));
        assert_eq!(seats.arrive(ticket.seat, "back"), None);
        assert_eq!(seats.release(ticket.seat), Some(("back", Some("client"))));
    }

    #[test]
    fn of_two_holds_the_last_one_to_be_released_brings_the_carrier() {
        let mut seats = seats(1);
        let (ticket, _) = seats.depart().expect("one is idle");
        assert!(seats.hold(ticket));
        assert!(seats.hold(ticket));
        assert_eq!(seats.arrive(ticket.seat, "back"), None);
        assert_eq!(seats.release(ticket.seat), None);
        assert_eq!(seats.release(ticket.seat), Some(("back", None)));
    }

    #[test]
    fn a_late_cancel_does_not_reach_the_next_journey() {
        let mut seats = seats(1);
        let (old, carrier) = seats.depart().expect("one is idle");
        let _ = seats.arrive(old.seat, "back");
        seats.rest(old.seat, carrier);
        let _ = seats.depart().expect("it is idle again");
        assert!(!seats.hold(old));
        assert_eq!(seats.alight(old), None);
    }

    #[test]
    fn a_cancel_that_comes_between_two_journeys_reaches_neither() {
        let mut seats = seats(1);
        let (old, _) = seats.depart().expect("one is idle");
        seats.board(old, "client").expect("the seat is empty");
        assert!(seats.arrive(old.seat, "back").is_some());
        assert!(!seats.hold(old));
    }

    #[test]
    fn a_carrier_that_goes_on_at_once_has_a_new_journey() {
        let mut seats = seats(1);
        let (old, _) = seats.depart().expect("one is idle");
        let _ = seats.arrive(old.seat, "back");
        let new = seats.depart_again(old.seat).expect("it is there");
        assert_ne!(old, new);
        assert!(!seats.hold(old));
        assert!(seats.hold(new));
    }

    #[test]
    fn all_carriers_away_leave_none_to_depart() {
        let mut seats = seats(2);
        assert!(seats.depart().is_some() && seats.depart().is_some());
        assert!(seats.depart().is_none());
    }

    #[test]
    fn a_ticket_survives_its_journey_as_a_number() {
        let ticket = Ticket { seat: 7, journey: u32::MAX };
        assert_eq!(Ticket::from_number(ticket.number()), ticket);
    }
}
