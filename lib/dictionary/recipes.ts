/**
 * How each architecture is trained: its step, its constraints, its state, and what is left of it
 * when training is over.
 *
 * | architecture           | decoder rows                        | dead features are revived by     |
 * | ---------------------- | ----------------------------------- | -------------------------------- |
 * | `standard`, `gated`    | free: their norm weighs the penalty | nothing: the warm-up spares them |
 * | `topk` and its kin     | norm 1                              | the auxiliary loss               |
 * | `jumprelu`             | norm 1                              | the pre-activation loss          |
 *
 * Where rows have norm 1, a gradient loses its part along the row, which would only be undone.
 *
 * @module
 */
import { type Adam, tf } from "../tensor/mod.ts";
import { type StepResult, type TrainerState, warmupFactor } from "../training/mod.ts";
import { batchTopkLoss } from "./batch_topk_loss.ts";
import { RunningThreshold } from "./batch_topk.ts";
import type { StepData } from "./closed_form.ts";
import { DeadFeatures } from "./dead_features.ts";
import { gatedLoss } from "./gated_loss.ts";
import { perpendicularRows, unitRows } from "./initial_weights.ts";
import { jumpReluLoss } from "./jumprelu_loss.ts";
import { matryoshkaLoss } from "./matryoshka_loss.ts";
import type { SaeWeights } from "./sae.ts";
import { standardLoss } from "./standard_loss.ts";
import { topkLoss } from "./topk_loss.ts";
import { defectsOf, type ResolvedSaeConfig } from "./train_config.ts";

/** One training: `fit` calls its parts. */
export interface Recipe {
  /** Stands in titles. */
  readonly title: string;
  /** What belongs to the weights beside the encoder and the decoder; the caller owns it. */
  parameters?(): Partial<SaeWeights>;
  /** Loss and gradients. */
  loss(step: number, weights: SaeWeights, data: StepData): StepResult | Promise<StepResult>;
  /** Constraints on parameters. */
  afterUpdate?(adam: Adam): void;
  /** What a checkpoint must have beside parameters. */
  state?: TrainerState;
  /** What a dictionary has beside its parameters; the caller owns it. */
  results?(): Partial<SaeWeights>;
}

/** The recipe of a configuration. */
export function recipeOf(config: ResolvedSaeConfig): Recipe {
  const { architecture } = config;
  if (architecture === "standard") return standard(config);
  if (architecture === "gated") return gated(config);
  if (architecture === "jumprelu") return jumpRelu(config);
  if (architecture === "topk") return topk(config);
  return batchTopk(config);
}

function standard(config: ResolvedSaeConfig): Recipe {
  const { l1Coefficient, l1WarmupSteps } = config;
  const faithful = defectsOf(config).recipe;
  return {
    title: faithful ? "ReLU SAE of the study" : "ReLU SAE",
    loss: (step, weights, { x, target }) =>
      standardLoss(weights, x, {
        l1Coefficient: l1Coefficient! * warmupFactor(step, l1WarmupSteps!),
        target,
        faithful,
      }),
  };
}

function gated({ dSae, l1Coefficient, l1WarmupSteps }: ResolvedSaeConfig): Recipe {
  return {
    title: "Gated SAE",
    parameters: () => ({ r_mag: tf.zeros([dSae]), b_mag: tf.zeros([dSae]) }),
    loss: (step, weights, { x }) =>
      gatedLoss(weights, x, {
        l1Coefficient: l1Coefficient! * warmupFactor(step, l1WarmupSteps!),
      }),
  };
}

function jumpRelu(config: ResolvedSaeConfig): Recipe {
  const { dSae, l0Coefficient, l0WarmupSteps, initialThreshold, preActCoefficient } = config;
  const deadFeatures = new DeadFeatures(dSae, config.deadAfterTokens!);
  return {
    title: "JumpReLU SAE",
    parameters: () => ({ threshold: tf.fill([dSae], initialThreshold!) }),
    loss: async (step, weights, { x, target }) => {
      const { fired, ...result } = jumpReluLoss(weights, x, {
        l0Coefficient: l0Coefficient! * warmupFactor(step, l0WarmupSteps!),
        bandwidth: config.bandwidth!,
        dead: preActCoefficient! > 0 ? deadFeatures.dead() : undefined,
        preActCoefficient,
        target,
      });
      await deadFeatures.updateBy(fired, x.shape[0]);
      fired.dispose();
      return withDead(onSphere(result, weights), deadFeatures, dSae);
    },
    afterUpdate: (adam) => {
      keepUnitRows(adam);
      // Below 0 a threshold would let nothing more through, and have no gradient.
      adam.assign("threshold", tf.relu(adam.values.threshold));
    },
    state: deadFeatures,
  };
}

function topk(config: ResolvedSaeConfig): Recipe {
  const { dSae, k, auxK, auxCoefficient } = config;
  const deadFeatures = new DeadFeatures(dSae, config.deadAfterTokens!);
  return {
    title: "TopK SAE",
    loss: async (_, weights, { x }) => {
      const dead = auxCoefficient! > 0 ? deadFeatures.dead() : undefined;
      const { codes, ...result } = topkLoss(weights, x, { k: k!, dead, auxK, auxCoefficient });
      await deadFeatures.update(codes);
      tf.dispose([codes.indices, codes.values]);
      return withDead(onSphere(result, weights), deadFeatures, dSae);
    },
    afterUpdate: keepUnitRows,
    state: deadFeatures,
  };
}

function batchTopk(config: ResolvedSaeConfig): Recipe {
  const { dSae, k, widths, auxK, auxCoefficient } = config;
  const deadFeatures = new DeadFeatures(dSae, config.deadAfterTokens!);
  const running = new RunningThreshold();
  return {
    title: widths ? "Matryoshka SAE" : "BatchTopK SAE",
    loss: async (_, weights, { x, target }) => {
      const dead = auxCoefficient! > 0 ? deadFeatures.dead() : undefined;
      const options = { k: k!, dead, auxK, auxCoefficient, target };
      const { fired, ...result } = widths
        ? matryoshkaLoss(weights, x, { ...options, widths })
        : batchTopkLoss(weights, x, options);
      const { least, ...scalars } = result.scalars;
      const [value] = await least.data();
      running.update(value);
      await deadFeatures.updateBy(fired, x.shape[0]);
      tf.dispose([fired, least]);
      const threshold = tf.scalar(running.value);
      const kept = { grads: result.grads, scalars: { ...scalars, threshold } };
      return withDead(onSphere(kept as StepResult, weights), deadFeatures, dSae);
    },
    afterUpdate: keepUnitRows,
    state: {
      save: () => ({ ...deadFeatures.save(), ...running.save() }),
      restore: (stored) => {
        deadFeatures.restore(stored);
        running.restore(stored);
      },
    },
    results: () => ({ threshold: tf.fill([dSae], running.value) }),
  };
}

/** Takes the part along each decoder row out of its gradient. */
function onSphere({ grads, scalars }: StepResult, { W_dec }: SaeWeights): StepResult {
  const projected = perpendicularRows(grads.W_dec as tf.Tensor2D, W_dec);
  grads.W_dec.dispose();
  return { grads: { ...grads, W_dec: projected }, scalars };
}

function keepUnitRows(adam: Adam): void {
  adam.assign("W_dec", unitRows(adam.values.W_dec as tf.Tensor2D));
}

/** Adds the share of dead features to what is reported. */
function withDead({ grads, scalars }: StepResult, dead: DeadFeatures, dSae: number): StepResult {
  return { grads, scalars: { ...scalars, dead: tf.scalar(dead.dead().length / dSae) } };
}
