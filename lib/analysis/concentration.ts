/** Temporary twin of lib/metrics: removed when that lands. @module */

/** Gini coefficient of absolute values: 2 Σ i·w_(i) / (n Σ w) − (n + 1) / n. */
export function gini(values: ArrayLike<number>): number {
  const w = Float64Array.from(values, Math.abs).sort();
  let [sum, weighted] = [0, 0];
  w.forEach((value, i) => {
    sum += value;
    weighted += (i + 1) * value;
  });
  const n = w.length;
  return sum > 0 ? Math.min(1, Math.max(0, 2 * weighted / (n * sum) - (n + 1) / n)) : 0;
}

/** exp of the entropy of |w| / Σ|w|. */
export function effectiveRank(values: ArrayLike<number>): number {
  const w = Float64Array.from(values, Math.abs);
  const sum = w.reduce((all, value) => all + value, 0);
  let entropy = 0;
  for (const value of w) if (value > 0) entropy -= value / sum * Math.log(value / sum);
  return sum > 0 ? Math.exp(entropy) : 0;
}
