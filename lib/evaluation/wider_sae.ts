/**
 * A wider dictionary: what the parameters of a second model would have given the first one.
 *
 * @module
 */
import {
  type ActivationReader,
  type Sae,
  type SaeResult,
  type SaeTrainingConfig,
  type TrainOptions,
  trainSae,
} from "../dictionary/mod.ts";

/** What decides how many numbers a dictionary has. */
export interface SaeSize {
  /** Any that can be trained, or that a trained one has. */
  readonly architecture: SaeTrainingConfig["architecture"];
  /** Width of the activations. */
  readonly dIn: number;
  /** Number of features. */
  readonly dSae: number;
  /** Width of the predicted activation. Default `dIn`. */
  readonly dOut?: number;
  /** Whether it has a skip connection. */
  readonly skip?: boolean;
}

/**
 * Numbers that a dictionary has to learn: encoder, decoder, their biases, and what its architecture
 * has beside them. The one threshold of BatchTopK is not counted.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { saeParameterCount } from "interlens";
 *
 * const study = { architecture: "standard", dIn: 3200, dSae: 50_000 } as const;
 * assertEquals(saeParameterCount(study), 50_000 * 6401 + 3200); // the study's 320 M
 * ```
 */
export function saeParameterCount({ architecture, dIn, dSae, dOut = dIn, skip }: SaeSize): number {
  const own = architecture === "jumprelu" ? 1 : architecture === "gated" ? 2 : 0;
  return dSae * (dIn + dOut + 1 + own) + dOut + (skip ? dIn * dOut : 0);
}

/**
 * Features of a dictionary that has as many parameters as another one and a second model together, to
 * the nearest.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { equalSaeWidth, parameterCount } from "interlens";
 *
 * const study = { architecture: "standard", dIn: 3200, dSae: 50_000 } as const;
 * const nfm = { head: "relu", K: 150, dSae: 50_000, dOut: 3200 } as const;
 * const pairs = parameterCount({ ...nfm, parts: "interaction" }).total; // 8 M
 * assertEquals(equalSaeWidth(study, pairs), 51_251);
 * const both = parameterCount({ ...nfm, parts: "both" }).total; // 168 M
 * assertEquals(equalSaeWidth(study, both), 76_247);
 * ```
 *
 * @param sae The first dictionary's size.
 * @param parameters Numbers that the second model has learnt; see `parameterCount`.
 * @returns Number of features, at least that of the first dictionary.
 * @throws {RangeError} If the second model has less than 0 parameters.
 */
export function equalSaeWidth(sae: SaeSize, parameters: number): number {
  if (!(parameters >= 0 && Number.isFinite(parameters))) {
    throw new RangeError(
      `Cannot spend ${parameters} parameters on a wider dictionary: expected 0 or more`,
    );
  }
  const each = saeParameterCount({ ...sae, dSae: 1 }) - saeParameterCount({ ...sae, dSae: 0 });
  return sae.dSae + Math.round(parameters / each);
}

/** What to train: a dictionary's configuration without its width. */
export type WiderSaeConfig =
  & Omit<SaeTrainingConfig, "dSae" | "architecture">
  & Partial<Pick<SaeTrainingConfig, "architecture">>
  & {
    /** Numbers that the second model has learnt, which the first dictionary gets as more features. */
    parameters: number;
  };

/**
 * Trains a dictionary on the activations themselves that has as many parameters as `sae` and a second
 * model together.
 *
 * Architecture and k are those of `sae` unless others are given. It is trained from new, so it should
 * have the steps of both models.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { memoryStore, openDevice, Rng, trainSae, trainWiderSae } from "interlens";
 *
 * await openDevice();
 * const rng = new Rng(0);
 * const split = { rows: rng.normals(800, 1), document: Int32Array.from({ length: 200 }, (_, i) => i % 20) };
 * const store = memoryStore(4, { train: split, validation: split, test: split });
 * const steps = { steps: 20, batchSize: 64 };
 * const { sae } = await trainSae(store, { architecture: "topk", dSae: 8, k: 2, ...steps }, {
 *   cache: false,
 * });
 * const wider = await trainWiderSae(store, sae, { parameters: 36, ...steps, cache: false });
 * assertEquals(wider.sae.config.dSae, 8 + 36 / 9); // a feature has 4 + 4 + 1 parameters
 * assertEquals(wider.sae.config.k, 2);
 * ```
 *
 * @param store Activations.
 * @param sae The first dictionary.
 * @param config What to train, and how to watch and keep it.
 * @throws {RangeError} If the configuration is impossible; before any work.
 */
export async function trainWiderSae(
  store: ActivationReader,
  sae: Sae,
  config: WiderSaeConfig & TrainOptions,
): Promise<SaeResult> {
  const { parameters, signal, cache, onStep, ...training } = config;
  const { k } = sae.config;
  const architecture = config.architecture ?? sae.config.architecture;
  const size = { ...sae.config, architecture };
  const dSae = equalSaeWidth({ ...size, dSae: sae.config.dSae }, parameters);
  return await trainSae(store, {
    ...k !== undefined && { k },
    ...training,
    architecture,
    dSae,
  }, { signal, cache, onStep });
}
