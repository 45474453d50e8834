//! How many different visitors there were, without knowing one of them: a sketch of hashes.
//!
//! Up to [`EXACT_MAX`] hashes are kept as they are, so that small sites get exact numbers; above that a `HyperLogLog` of 4,096 registers
//! (Flajolet et al. 2007) takes their place, whose estimate is off by 1.6 % (one standard error). Sketches of the same day join without
//! counting anybody twice. INVARIANT: a hash says nothing without the day's salt, which is never kept with a sketch.

/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = 12;
/// Registers of the large form.
const REGISTERS: usize = 1 << INDEX_BITS;
/// Hashes that are kept as they are: as many bytes as the registers take.
pub const EXACT_MAX: usize = REGISTERS / 4;
/// The bias of the estimate for so many registers.
const ALPHA: f64 = 0.7213 / (1.0 + 1.079 / 4096.0);

/// A sketch of visitors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitors(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Sorted, each once.
    Exact(Vec<u32>),
    /// The highest rank of each register.
    Registers(Box<[u8]>),
}

impl Default for Visitors {
    fn default() -> Self {
        Self(Form::Exact(Vec::new()))
    }
}

/// Where a hash belongs, and how rare it is.
fn place(hash: u32) -> (usize, u8) {
    let index = usize::try_from(hash >> (32 - INDEX_BITS)).unwrap_or(0);
    // The bit behind the last one bounds the rank.
    let rest = (hash << INDEX_BITS) | (1 << (INDEX_BITS - 1));
    (index, u8::try_from(rest.leading_zeros() + 1).unwrap_or(u8::MAX))
}

fn raise(registers: &mut [u8], index: usize, rank: u8) {
    if let Some(it) = registers.get_mut(index) {
        *it = rank.max(*it);
    }
}

impl Visitors {
    /// Whether it has seen nobody.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Exact(all) if all.is_empty())
    }

    /// Takes the hash of a visitor.
    pub fn insert(&mut self, hash: u32) {
        match &mut self.0 {
            Form::Exact(all) => {
                let Err(at) = all.binary_search(&hash) else { return };
                all.insert(at, hash);
                if all.len() > EXACT_MAX {
                    self.0 = Form::Registers(registers_of(all));
                }
            }
            Form::Registers(registers) => {
                let (index, rank) = place(hash);
                raise(registers, index, rank);
            }
        }
    }

    /// Takes all whom another has seen.
    pub fn join(&mut self, other: &Self) {
        match &other.0 {
            Form::Exact(all) => all.iter().for_each(|it| self.insert(*it)),
            Form::Registers(theirs) => {
                let mut own = match &self.0 {
                    Form::Exact(all) => registers_of(all),
                    Form::Registers(own) => own.clone(),
                };
                own.iter_mut().zip(theirs).for_each(|(own, their)| *own = (*own).max(*their));
                self.0 = Form::Registers(own);
            }
        }
    }

    /// How many there were, about.
    pub fn estimate(&self) -> u64 {
        let registers = match &self.0 {
            Form::Exact(all) => return u64::try_from(all.len()).unwrap_or(u64::MAX),
            Form::Registers(registers) => registers,
        };
        let (mut sum, mut empty) = (0.0_f64, 0_u32);
        for rank in registers {
            sum += 0.5_f64.powi(i32::from(*rank));
            empty += u32::from(*rank == 0);
        }
        let many = f64::from(u32::try_from(REGISTERS).unwrap_or(u32::MAX));
        let raw = ALPHA * many * many / sum;
        let counted = if raw <= 2.5 * many && empty > 0 { many * (many / f64::from(empty)).ln() } else { raw };
        whole(counted)
    }

    /// The bytes for a store: a form, then four bytes for each hash, or one for each register.
    pub fn encode(&self) -> Vec<u8> {
        match &self.0 {
            Form::Exact(all) => {
                let hashes = all.iter().flat_map(|it| it.to_be_bytes());
                std::iter::once(1).chain(hashes).collect()
            }
            Form::Registers(registers) => std::iter::once(2).chain(registers.iter().copied()).collect(),
        }
    }

    /// Reads what [`Visitors::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (form, rest) = bytes.split_first()?;
        match form {
            1 if rest.len() <= EXACT_MAX * 4 => {
                let hashes = rest.chunks(4).map(|it| it.try_into().ok().map(u32::from_be_bytes));
                let mut all = hashes.collect::<Option<Vec<u32>>>()?;
                all.sort_unstable();
                all.dedup();
                Some(Self(Form::Exact(all)))
            }
            2 if rest.len() == REGISTERS => Some(Self(Form::Registers(rest.into()))),
            _ => None,
        }
    }
}

fn registers_of(hashes: &[u32]) -> Box<[u8]> {
    let mut registers = vec![0; REGISTERS].into_boxed_slice();
    for hash in hashes {
        let (index, rank) = place(*hash);
        raise(&mut registers, index, rank);
    }
    registers
}

/// The nearest whole number of one that is not negative, without a cast: by its binary digits.
fn whole(value: f64) -> u64 {
    if !value.is_finite() || value < 1.0 {
        return u64::from(value >= 0.5);
    }
    let (mut low, mut high) = (0_u32, u32::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if f64::from(middle) + 0.5 < value { low = middle + 1 } else { high = middle }
    }
    u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::Sha256;

    fn hash(of: u32) -> u32 {
        u32::from_be_bytes(Sha256::of(&of.to_be_bytes()).0[..4].try_into().unwrap())
    }

    fn of(numbers: std::ops::Range<u32>) -> Visitors {
        let mut visitors = Visitors::default();
        numbers.for_each(|it| visitors.insert(hash(it)));
        visitors
    }

    #[test]
    fn few_are_counted_exactly_and_nobody_twice() {
        let mut visitors = of(0..700);
        visitors.join(&of(300..1_000));
        assert_eq!(visitors.estimate(), 1_000);
        assert_eq!(Visitors::default().estimate(), 0);
        assert!(Visitors::default().is_empty() && !visitors.is_empty());
    }

    #[test]
    fn many_are_estimated_within_five_percent_however_they_were_joined() {
        for many in [1_500_u32, 5_000, 9_000, 40_000, 400_000] {
            let whole = of(0..many);
            let mut joined = of(0..many / 2);
            joined.join(&of(many / 3..many));
            // One of the two may be small, and hold its hashes as they are.
            let mut other = of(many - 10..many);
            other.join(&of(0..many - 5));
            let near = |it: &Visitors| it.estimate().abs_diff(u64::from(many)) * 20 <= u64::from(many);
            assert!(near(&whole), "{many}: {}", whole.estimate());
            assert_eq!(joined.estimate(), whole.estimate());
            assert_eq!(other.estimate(), whole.estimate());
            assert_eq!(whole.encode().len(), 4_097);
        }
    }

    #[test]
    fn bytes_are_read_again_and_others_refused() {
        for visitors in [of(0..3), of(0..5_000), Visitors::default()] {
            assert_eq!(Visitors::decode(&visitors.encode()), Some(visitors));
        }
        for wrong in [&[][..], &[1, 2, 3], &[2, 0], &[9], &[1; 4 * EXACT_MAX + 5]] {
            assert_eq!(Visitors::decode(wrong), None, "{}", wrong.len());
        }
    }

    #[test]
    fn ranks_stay_within_the_hash() {
        assert_eq!(place(0), (0, 21));
        assert_eq!(place(u32::MAX), (4_095, 1));
        assert_eq!([0.0, 0.4, 0.6, 1.2, 2.6, f64::NAN].map(whole), [0, 0, 1, 1, 3, 0]);
    }
}
