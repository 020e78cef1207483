/**
 * What a person sees: progress, tables, figures and warnings that print in a terminal and render in
 * Jupyter, and chart functions from plain data to figures.
 *
 * @module
 */
export { type Bar, bars } from "./charts/bars.ts";
export { boxPoints, type BoxPointsOptions, type ValueGroup } from "./charts/box_points.ts";
export { conditionPanels, type ConditionPanelsOptions } from "./charts/condition_panels.ts";
export type {
  ConditionCells,
  ConditionMeasure,
  ConditionOptions,
  ConditionTest,
} from "./charts/conditions.ts";
export { type GraphEdge, interactionGraph } from "./charts/interaction_graph.ts";
export { type Grid, heatMap, type HeatMapOptions } from "./charts/heat_map.ts";
export { histogram, type HistogramOptions } from "./charts/histogram.ts";
export { type InteractionPanel, interactionPlot } from "./charts/interaction_plot.ts";
export type { InteractionPlotOptions } from "./charts/interaction_plot.ts";
export { interactionSurface, type SurfacePair } from "./charts/interaction_surface.ts";
export { type Estimate, ladder, type LadderOptions } from "./charts/ladder.ts";
export { lines, type LinesOptions, lossCurves, type LossOptions } from "./charts/lines.ts";
export type { Series } from "./charts/lines.ts";
export { nullDistribution, type NullDraws, type NullOptions } from "./charts/null_distribution.ts";
export { powerCurve, type PowerOptions, type PowerSeries } from "./charts/power_curve.ts";
export type { ChartOptions } from "./charts/options.ts";
export { escapeHtml, escapeLabel, escapeTemplate, unescapeLabel } from "./escape.ts";
export { CAPTION, Figure, figure, PLOTLY_MIME } from "./figure.ts";
export type { FigureJson, FigureOptions } from "./figure.ts";
export { formatNumber, formatSeconds } from "./format.ts";
export { inJupyter, JUPYTER_DISPLAY, sendDisplay, show } from "./jupyter.ts";
export type { Displayable, MimeBundle } from "./jupyter.ts";
export { notice } from "./notice.ts";
export { Progress, progress, type ProgressOptions, type ProgressOutput } from "./progress.ts";
export { type ProgressState, withoutProgress } from "./progress.ts";
export { showStream } from "./stream.ts";
export { type DataFrameLike, Table, table, type TableOptions } from "./table.ts";
export { COLORS, DARK, THEME } from "./theme.ts";
