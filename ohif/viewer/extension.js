export default { id: '@radiarch/extension-planning' };
