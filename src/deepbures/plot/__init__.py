"""Figures of runs: records in, matplotlib figures out.

Every function returns a `matplotlib.figure.Figure` made without pyplot: nothing global is touched, and the figure can
be shown in a notebook, saved with ``figure.savefig("loss.pdf")``, or turned into an SVG whose bytes depend on the data
alone (`to_svg`). Blue is the run, vermilion what theory says of it; both differ in line style as well as in color.
"""

try:
    import matplotlib as mpl  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'Figures need matplotlib, which could not be imported ({error}): pip install "deepbures[plot]"'
    ) from None

from deepbures.plot._bounds_experiments import plot_margins as plot_margins
from deepbures.plot._bounds_experiments import plot_smoothing as plot_smoothing
from deepbures.plot._bounds_experiments import plot_tightness as plot_tightness
from deepbures.plot._curve_experiments import plot_bounds_on_curves as plot_bounds_on_curves
from deepbures.plot._curve_experiments import plot_curve_records as plot_curve_records
from deepbures.plot._curve_experiments import plot_saddles as plot_saddles
from deepbures.plot._curves import plot_excess as plot_excess
from deepbures.plot._curves import plot_loss as plot_loss
from deepbures.plot._curves import prediction_height as prediction_height
from deepbures.plot._grid_experiments import plot_descent_against_flow as plot_descent_against_flow
from deepbures.plot._grid_experiments import plot_slopes as plot_slopes
from deepbures.plot._grid_experiments import plot_slopes_by_depth as plot_slopes_by_depth
from deepbures.plot._hessian_experiments import plot_critical_paths as plot_critical_paths
from deepbures.plot._hessian_experiments import plot_curvatures as plot_curvatures
from deepbures.plot._hessian_experiments import plot_hessian_blow_up as plot_hessian_blow_up
from deepbures.plot._hessian_experiments import plot_quadratic_models as plot_quadratic_models
from deepbures.plot._image_experiments import plot_eigen_images as plot_eigen_images
from deepbures.plot._image_experiments import plot_generated_images as plot_generated_images
from deepbures.plot._images import plot_images as plot_images
from deepbures.plot._landscape import plot_critical_points as plot_critical_points
from deepbures.plot._landscape import plot_hessian_spectra as plot_hessian_spectra
from deepbures.plot._landscape import plot_paths as plot_paths
from deepbures.plot._loss_experiments import plot_losses as plot_losses
from deepbures.plot._proof import plot_proof as plot_proof
from deepbures.plot._records import panel_names as panel_names
from deepbures.plot._records import plot_records as plot_records
from deepbures.plot._spectra import plot_spectra as plot_spectra
from deepbures.plot._style import PALETTE as PALETTE
from deepbures.plot._style import format_number as format_number
from deepbures.plot._style import to_svg as to_svg
