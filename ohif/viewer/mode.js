// OHIF's mode "Treatment planning": the basic mode with our panels and hanging protocol.
import { ID, enter, leave } from './extension.js';
import { PROTOCOL_ID } from './protocol.js';

const panel = (name) => `${ID}.panelModule.${name}`;

export default {
  id: '@radiarch/mode-planning',
  async modeFactory({ loadModules }) {
    const [basic] = await loadModules(['@ohif/mode-basic']);
    const base = basic.modeInstance;
    const [route] = base.routes;
    const layout = {
      ...route.layoutInstance,
      props: {
        ...route.layoutInstance.props,
        leftPanels: [panel('dose'), panel('runs'), '@ohif/extension-default.panelModule.seriesList'],
        rightPanels: [panel('dvh'), panel('goals'), panel('plan')],
        // room for a DVH and the goals' table, and on a laptop still most of it for the images; both can be drawn wider
        leftPanelInitialExpandedWidth: 270,
        rightPanelInitialExpandedWidth: window.innerWidth < 1600 ? 350 : 440,
        rightPanelClosed: false,
        leftPanelClosed: false,
      },
    };
    return {
      ...base,
      id: '@radiarch/mode-planning',
      routeName: 'radiarch',
      displayName: 'Treatment planning',
      hide: false,
      // the first that fits; OHIF's own for studies without a CT
      hangingProtocol: [PROTOCOL_ID, 'default'],
      routes: [{ ...route, path: 'radiarch', layoutInstance: layout }],
      isValidMode: ({ modalities }) => {
        const valid = modalities.split('\\').includes('CT');
        return { valid, description: 'Treatment planning needs a CT' };
      },
      onModeEnter(managers) {
        base.onModeEnter.call(this, managers);
        enter(managers);
      },
      onModeExit(managers) {
        leave();
        base.onModeExit.call(this, managers);
      },
    };
  },
};
