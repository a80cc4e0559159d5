//! Mutations: what becomes of an input of the corpus. Blind to coverage, but every step comes from the seed.

/// Longest input that is made, in bytes.
pub const INPUT_BYTES_MAX: usize = 128 * 1024;

/// A small generator (xorshift64*); the same seed gives the same inputs on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed; zero is as good as any other.
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The remainder is smaller than `n`, so it fits.
        usize::try_from(self.roll().checked_rem(n as u64).unwrap_or(0)).unwrap_or(0)
    }

    fn one<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }
}

/// Texts that parsers stumble over.
const EXTREMES: [&[u8]; 34] = [
    b"0",
    b"-1",
    b"-0",
    b"1e400",
    b"NaN",
    b"255",
    b"256",
    b"65536",
    b"2147483648",
    b"4294967296",
    b"9007199254740993",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\0\0\0\0\0\0",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    "\u{202e}".as_bytes(),
    "\u{200b}".as_bytes(),
    b"\r\n",
    b"\x1b[31m",
    b"../",
    b"\"",
    b"\\",
    b"null",
    b"[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":",
];

/// A new input from `from`: one to eight small steps.
#[must_use]
pub fn mutate(dice: &mut Dice, from: &[u8], corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut data = from.to_vec();
    for _ in 0..=dice.below(8) {
        step(dice, &mut data, corpus, words);
        data.truncate(INPUT_BYTES_MAX);
    }
    data
}

fn step(dice: &mut Dice, data: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    let at = dice.below(data.len() + 1);
    let length = match dice.below(3) {
        0 => dice.below(4) + 1,
        1 => dice.below(32) + 1,
        _ => dice.below(data.len() + 1),
    };
    let end = at.saturating_add(length).min(data.len());
    match dice.below(12) {
        0 | 1 => {
            if let Some(b) = data.get_mut(at) {
                *b ^= 1 << dice.below(8);
            }
        }
        2 => {
            let value = dice.roll().to_le_bytes()[0];
            if let Some(b) = data.get_mut(at) {
                *b = value;
            }
        }
        3 => drop(data.drain(at..end)),
        4 => {
            let piece = data[at..end].to_vec();
            let to = dice.below(data.len() + 1);
            data.splice(to..to, piece);
        }
        5 | 6 => {
            let word = dice.one(words).map_or(&b"x"[..], |w| w.as_bytes());
            data.splice(at..at, word.iter().copied());
        }
        7 => {
            let extreme = dice.one(&EXTREMES).copied().unwrap_or_default();
            data.splice(at..end, extreme.iter().copied());
        }
        8 => replace_number(dice, data, at),
        9 => {
            let other = dice.one(corpus).cloned().unwrap_or_default();
            let from = dice.below(other.len() + 1);
            data.truncate(at);
            data.extend_from_slice(&other[from..]);
        }
        10 => {
            let piece = data[at..end].to_vec();
            let times = 1 << dice.below(12);
            let grown: Vec<u8> = piece.iter().copied().cycle().take(piece.len().saturating_mul(times).min(INPUT_BYTES_MAX)).collect();
            data.splice(at..at, grown);
        }
        _ => data.truncate(at),
    }
}

/// Puts an extreme in the place of the digits at or after `at`.
fn replace_number(dice: &mut Dice, data: &mut Vec<u8>, at: usize) {
    let Some(begin) = data.iter().skip(at).position(u8::is_ascii_digit).map(|p| p + at) else { return };
    let digits = data[begin..].iter().take_while(|b| b.is_ascii_digit()).count();
    let extreme = EXTREMES[dice.below(15)];
    data.splice(begin..begin + digits, extreme.iter().copied());
}
