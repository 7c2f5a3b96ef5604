// mg/dL and mmol/L: the page holds mg/dL; only what people read is in the unit they chose. No document here.

export const UNITS = ['mg/dL', 'mmol/L'];
const MG_DL_PER_MMOL_L = 18.01559;
const MARKS = {
  'mg/dL': [40, 70, 120, 180, 250, 300, 350, 400],
  'mmol/L': [40, 70, 6 * MG_DL_PER_MMOL_L, 180, ...[14, 18, 22].map((value) => value * MG_DL_PER_MMOL_L)],
};
// The usual limits in either unit: 70 and 180 mg/dL are 3.9 and 10.0 mmol/L.
const LIMITS = {
  'mg/dL': { floor: '40', low: '70', high: '180', ceiling: '400' },
  'mmol/L': { floor: '2.2', low: '3.9', high: '10.0', ceiling: '22.2' },
};

let chosen = UNITS[0];

export const unit = () => chosen;
export const chooseUnit = (name) => { chosen = UNITS.includes(name) ? name : UNITS[0]; };

/** A value in mg/dL as people write it in the chosen unit, without the unit. */
export function number(value) {
  return chosen === 'mmol/L' ? (value / MG_DL_PER_MMOL_L).toFixed(1) : String(Math.round(value));
}

export const withUnit = (value) => `${number(value)} ${chosen}`;

/** The limits of target and sensor as text: `{floor, low, high, ceiling}`. */
export const limits = () => LIMITS[chosen];

/** Where the value axis has its lines, in mg/dL. */
export const marks = () => MARKS[chosen];
