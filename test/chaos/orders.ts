// What the harness and the preload of its processes say to one another.

/** How a process says that a fault has landed; the rest of the line says which. */
export const LANDED = 'chaos landed';

export const POINT_ACTIONS = ['kill', 'stop', 'throw', 'block'] as const;
export type PointAction = (typeof POINT_ACTIONS)[number];
