

/** Waits for what comes by itself: a disposal, a garbage collection, a message. */
export const settled = (milliseconds = 50): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
